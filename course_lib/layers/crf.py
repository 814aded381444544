"""Linear-chain conditional random field: the output layer that scores whole tag sequences."""

import keras
import numpy as np
from keras import ops

from course_lib.decoding import FORBIDDEN_SCORE
from course_lib.errors import UsageError
from course_lib.text.batches import IGNORED_LABEL


@keras.saving.register_keras_serializable("course_lib")
class CRF(keras.layers.Layer):
    """Learns which tag follows which; a call passes the logits on, the methods score and decode tags.

    The score of the tags y_1 … y_T is Σ logits[t, y_t] + Σ transitions[y_t, y_t+1], with a start before y_1
    and an end after y_T; the probability of the tags is exp(score) / Z, where Z sums over all sequences of T
    tags. `CRFLoss` trains it.

    Args:
        allowed: bool (num_tags + 1, num_tags + 1), False forbids a transition, as `allowed_transitions`
            returns it; None allows all. The last row stands for the start, the last column for the end.

    Attributes:
        transitions: the trained weight, same shape and meaning; forbidden entries have no effect.

    Call arguments:
        inputs: logits (batch, time, num_tags), returned unchanged. The mask ends here.

    The methods take logits (batch, time, num_tags) and a bool mask (batch, time), True at real tokens,
    padding on the right; None counts all. They run in float32 also under a half-precision policy.

    Raises:
        UsageError: `allowed` does not fit the number of tags, when the layer is built.

    Source: Lafferty, McCallum and Pereira 2001, section 3; Lample et al. 2016, section 2.2.
    """

    def __init__(self, allowed: np.ndarray | None = None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.allowed = None if allowed is None else np.asarray(allowed, dtype=bool)

    def build(self, input_shape):
        size = input_shape[-1] + 1
        if self.allowed is not None and self.allowed.shape != (size, size):
            raise UsageError(
                f"The matrix of allowed transitions has the shape {self.allowed.shape}, but {size - 1} tags "
                f"with start and end need {(size, size)}."
            )
        self.transitions = self.add_weight(shape=(size, size), initializer="zeros", name="transitions")

    def call(self, inputs):
        return ops.copy(inputs)  # the tensor itself would carry its mask on to the loss

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        allowed = None if self.allowed is None else self.allowed.tolist()
        return {**super().get_config(), "allowed": allowed}

    def scores(self):
        """The transitions in force: the weight, or `FORBIDDEN_SCORE` where a transition is not allowed."""
        transitions = ops.convert_to_tensor(self.transitions)
        if self.allowed is None:
            return transitions
        return ops.where(self.allowed, transitions, ops.cast(FORBIDDEN_SCORE, transitions.dtype))

    def score(self, logits, tags, mask=None):
        """The score of each row's tags (batch, time): (batch,); tags at padding may be any."""
        logits, mask = self._prepare(logits, mask)
        boundary = logits.shape[-1]
        tags = ops.where(mask, ops.cast(tags, "int32"), boundary)  # the end comes after the last real tag
        edge = ops.full_like(tags[:, :1], boundary)
        previous = ops.concatenate([edge, tags], axis=1)  # (batch, time + 1)
        following = ops.concatenate([tags, edge], axis=1)
        pairs = ops.take(ops.reshape(self.scores(), (-1,)), previous * (boundary + 1) + following)
        chosen = ops.take_along_axis(logits, ops.where(mask, tags, 0)[:, :, None], axis=-1)[:, :, 0]
        zero = ops.cast(0, logits.dtype)
        # From boundary to boundary there is no transition: that is padding, or a row without any token.
        inner = (previous < boundary) | (following < boundary)
        return ops.sum(ops.where(mask, chosen, zero), axis=1) + ops.sum(ops.where(inner, pairs, zero), axis=1)

    def log_partition(self, logits, mask=None):
        """log Z of each row, by the forward algorithm: (batch,); 0 for a row without any token.

        Its gradient is taken from forward–backward (∂ log Z / ∂ logits are the marginals) rather than
        through the loop.
        """
        logits, mask = self._prepare(logits, mask)
        scores = self.scores()
        fixed_logits, fixed_scores = ops.stop_gradient(logits), ops.stop_gradient(scores)
        forward, backward, log_z = self._forward_backward(fixed_logits, fixed_scores, mask)
        marginals = self._marginals(fixed_logits, forward, backward, log_z, mask)
        # Expected number of times that each transition is used, (batch, num_tags + 1, num_tags + 1).
        pairs = forward[:, :-1, :, None] + backward[:, 1:, None, :] + fixed_scores[:-1, :-1]
        pairs = ops.exp(ops.minimum(pairs - log_z[:, None, None, None], 0.0))  # (batch, time - 1, from, to)
        between = ops.sum(ops.where(mask[:, 1:, None, None], pairs, ops.cast(0, pairs.dtype)), axis=1)
        is_last = ops.cast(mask & ~ops.pad(mask[:, 1:], ((0, 0), (0, 1))), marginals.dtype)
        ends = ops.sum(marginals * is_last[:, :, None], axis=1)
        between = ops.concatenate([between, ends[:, :, None]], axis=2)
        starts = ops.pad(marginals[:, 0], ((0, 0), (0, 1)))
        counts = ops.concatenate([between, starts[:, None, :]], axis=1)
        # The differences are 0: they leave the value as it is and give it its gradient.
        return (
            ops.where(mask[:, 0], log_z, ops.cast(0, log_z.dtype))
            + ops.sum(marginals * (logits - fixed_logits), axis=(1, 2))
            + ops.sum(counts * (scores - fixed_scores), axis=(1, 2))
        )

    def log_likelihood(self, logits, tags, mask=None):
        """The log-probability of each row's tags (batch, time) in nats: (batch,)."""
        return self.score(logits, tags, mask) - self.log_partition(logits, mask)

    def marginals(self, logits, mask=None):
        """The probability of each tag at each token, by forward–backward: like logits, 0 at padding."""
        logits, mask = self._prepare(logits, mask)
        return self._marginals(logits, *self._forward_backward(logits, self.scores(), mask), mask)

    def viterbi(self, logits, mask=None):
        """The best tag sequence of each row.

        Returns:
            Tags int32 (batch, time), 0 at padding, and their score (batch,).
        """
        logits, mask = self._prepare(logits, mask)
        num_rows, num_steps, num_tags = ops.shape(logits)[0], ops.shape(logits)[1], logits.shape[-1]
        scores = self.scores()
        by_time, mask_by_time = ops.transpose(logits, (1, 0, 2)), ops.transpose(mask)
        own = ops.broadcast_to(ops.arange(num_tags), (num_rows, num_tags))

        def forward(step, best, came_from):
            candidates = best[:, :, None] + scores[:-1, :-1]  # (batch, from, to)
            real = ops.take(mask_by_time, step, axis=0)[:, None]
            reached = ops.max(candidates, axis=1) + ops.take(by_time, step, axis=0)
            origin = ops.where(real, ops.cast(ops.argmax(candidates, axis=1), "int32"), own)
            return step + 1, ops.where(real, reached, best), _put(came_from, step, origin)

        came_from = ops.zeros((num_steps, num_rows, num_tags), dtype="int32")
        best = by_time[0] + scores[-1, :-1]
        _, best, came_from = ops.while_loop(lambda step, *_: step < num_steps, forward, (1, best, came_from))
        best = best + scores[:-1, -1]
        last = ops.cast(ops.argmax(best, axis=-1), "int32")

        def back(step, tag, tags):
            tag = ops.take_along_axis(ops.take(came_from, step, axis=0), tag[:, None], axis=1)[:, 0]
            return step - 1, tag, _put(tags, step - 1, tag)

        tags = _put(ops.zeros((num_steps, num_rows), dtype="int32"), num_steps - 1, last)
        _, _, tags = ops.while_loop(lambda step, *_: step > 0, back, (num_steps - 1, last, tags))
        score = ops.where(mask[:, 0], ops.max(best, axis=-1), ops.cast(0, best.dtype))
        return ops.where(mask, ops.transpose(tags), 0), score

    def _prepare(self, logits, mask):
        logits = ops.cast(logits, self.variable_dtype)
        if mask is None:
            return logits, ops.ones(ops.shape(logits)[:2], dtype="bool")
        return logits, ops.cast(mask, "bool")

    def _forward_backward(self, logits, scores, mask):
        """Log-sums over all ways to reach a tag and over all ways on from it, and log Z.

        Both (batch, time, num_tags) and with the tag's own logit. One loop serves both directions. Forward
        values at padding are of no use to anyone; backward ones there hold the end.
        """
        num_rows, num_steps, num_tags = ops.shape(logits)[0], ops.shape(logits)[1], logits.shape[-1]
        by_time = ops.transpose(logits, (1, 0, 2))
        both = ops.stack([by_time, ops.flip(by_time, axis=0)], axis=1)  # (time, 2, batch, num_tags)
        between = scores[:-1, :-1]
        between = ops.stack([between, ops.transpose(between)])[:, None]  # (2, 1, from, to)
        end = scores[:-1, -1]
        # Step k of the backward half is position time - 1 - k, and goes on to position time - k.
        goes_on = ops.flip(ops.transpose(mask), axis=0)  # (time, batch)

        def step_on(step, sums, all_sums):
            candidates = sums[..., None] + between  # (2, batch, from, to)
            highest = ops.max(candidates, axis=2, keepdims=True)
            reached = ops.log(ops.sum(ops.exp(candidates - highest), axis=2)) + highest[:, :, 0]
            real = ops.take(goes_on, step - 1, axis=0)[:, None]
            reached = ops.stack([reached[0], ops.where(real, reached[1], end)])
            sums = reached + ops.take(both, step, axis=0)
            return step + 1, sums, _put(all_sums, step, sums)

        sums = both[0] + ops.stack([scores[-1, :-1], end])[:, None]
        all_sums = _put(ops.zeros((num_steps, 2, num_rows, num_tags), dtype=logits.dtype), 0, sums)
        _, _, all_sums = ops.while_loop(lambda step, *_: step < num_steps, step_on, (1, sums, all_sums))
        forward = ops.transpose(all_sums[:, 0], (1, 0, 2))
        backward = ops.transpose(ops.flip(all_sums[:, 1], axis=0), (1, 0, 2))
        return forward, backward, ops.logsumexp(backward[:, 0] + scores[-1, :-1], axis=-1)

    def _marginals(self, logits, forward, backward, log_z, mask):
        # Rounding may put a log-probability just above 0, and padding may put it anywhere.
        marginals = ops.exp(ops.minimum(forward + backward - logits - log_z[:, None, None], 0.0))
        return ops.where(mask[:, :, None], marginals, ops.cast(0, marginals.dtype))


def _put(values, step, value):
    """`values` with `value` at position `step` of the first axis."""
    return ops.slice_update(values, (step, *[0] * (len(values.shape) - 1)), value[None])


@keras.saving.register_keras_serializable("course_lib")
class CRFLoss(keras.losses.Loss):
    """Negative log-likelihood of the tags under a CRF layer, in nats per sentence.

    Args:
        crf: the layer that the model's logits come from; the loss trains its transitions.

    Labels are tag ids (batch, time), `IGNORED_LABEL` at padding on the right. A model that is loaded from a
    file has a loss without its layer: compile it anew before training on.

    Raises:
        UsageError: the loss of a loaded model is used.
    """

    def __init__(self, crf: CRF | None = None, name: str = "crf_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.crf = crf

    def call(self, y_true, y_pred):
        if self.crf is None:
            raise UsageError(
                "This model was loaded from a file: call compile_tagger(model, optimizer) first."
            )
        tags = ops.cast(y_true, "int32")
        return -self.crf.log_likelihood(y_pred, tags, tags != IGNORED_LABEL)
