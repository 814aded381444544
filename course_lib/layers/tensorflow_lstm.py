"""The LSTM on TensorFlow without a GPU: a fused operation forwards, few operations a step backwards."""

import tensorflow as tf


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU, where cuDNN is faster than anything here."""
    return bool(tf.config.list_logical_devices("GPU"))


def fused_loop(sequences, initial_state, mask, weights, *, go_backwards, cells_are_used):
    """What `keras.layers.RNN.inner_loop` returns: the last output, all of them, and the two last states.

    Shapes: sequences (batch, time, features), initial_state two of (batch, hidden), mask None or bool
    (batch, time), weights (features, 4 * hidden), (hidden, 4 * hidden) and (4 * hidden,), gates i, f, c, o.
    """
    num_rows, num_steps = tf.unstack(tf.shape(sequences)[:2])
    if mask is None:
        lengths = tf.fill([num_rows], num_steps)
    else:
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        message = "A mask must be True up to each row's end and False after it: pad on the right."
        tf.debugging.assert_equal(mask, tf.sequence_mask(lengths, num_steps), message)
    rows = tf.range(num_rows)
    # Which token each step reads, (time, batch); the step that reads token t is token[t] as well.
    token = tf.tile(tf.range(num_steps)[:, None], (1, num_rows))
    if go_backwards:
        # Padding stays at the end, where no real step comes after it.
        token = tf.where(token < lengths, lengths - 1 - token, token)
    read, written = rows * num_steps + token, tf.transpose(token * num_rows + rows)
    steps = _rearrange(sequences, read, written)  # (time, batch, features)
    hidden, cells = _walk(steps, *initial_state, *weights, cells_are_used=cells_are_used)
    last = tf.stack([tf.maximum(lengths - 1, 0), rows], axis=1)
    states = [
        tf.where(lengths[:, None] > 0, tf.gather_nd(walked, last), start)
        for walked, start in zip((hidden, cells), initial_state, strict=True)
    ]
    if go_backwards:
        # Keras's order: all tokens from the last to the first, padding first.
        read, written = rows * num_steps + num_steps - 1 - token, tf.reverse(written, axis=[1])
    outputs = _rearrange(hidden, written, read)  # (batch, time, hidden)
    if mask is not None:
        mask = tf.reverse(mask, axis=[1]) if go_backwards else mask
        outputs *= tf.cast(mask, outputs.dtype)[..., None]
    return outputs[:, -1], outputs, states


@tf.custom_gradient
def _rearrange(vectors, places, back):
    """Vectors (…, …, size) in the order of `places`, which counts them row by row; `back` undoes it."""

    def taken(vectors, places):
        return tf.gather(tf.reshape(vectors, (-1, vectors.shape[-1])), places)

    return taken(vectors, places), lambda gradient: (taken(gradient, back), None, None)


def _walk(steps, hidden, cell, kernel, recurrent, bias, *, cells_are_used):
    """Hidden and cell states (time, batch, hidden) after each of the steps (time, batch, features)."""

    @tf.custom_gradient
    def walk(steps, hidden, cell, kernel, recurrent, bias):
        num_steps = tf.shape(steps)[0]
        none = tf.zeros_like(recurrent[:, 0])  # no gate looks at the cell
        i, cells, f, o, c, tanh_cells, hiddens = tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.cast(num_steps, tf.int64),
            x=steps,
            cs_prev=cell,
            h_prev=hidden,
            w=tf.concat([kernel, recurrent], axis=0),
            wci=none,
            wcf=none,
            wco=none,
            b=bias,
            cell_clip=0.0,
        )

        def gradient(d_hiddens, d_cells):
            """Gradients of the loss by all six arguments, from those by the states."""
            before = tf.concat([cell[None], cells[:-1]], axis=0)
            # LSTMBlockCellGrad has the gates in the order i, c, f, o.
            back = tf.transpose(_swap_middle(recurrent))
            # It looks at the shapes alone of input, hidden state, weights and bias.
            weights = tf.concat([recurrent, recurrent], axis=0)

            def step(time, d_hidden, d_cell, d_gates):
                d_cell, d_gate, *_ = tf.raw_ops.LSTMBlockCellGrad(
                    x=d_hidden,
                    cs_prev=before[time],
                    h_prev=d_hidden,
                    w=weights,
                    wci=none,
                    wcf=none,
                    wco=none,
                    b=bias,
                    i=i[time],
                    cs=cells[time],
                    f=f[time],
                    o=o[time],
                    ci=c[time],
                    co=tanh_cells[time],
                    cs_grad=d_cell + d_cells[time] if cells_are_used else d_cell,
                    h_grad=d_hidden + d_hiddens[time],
                    use_peephole=False,
                )
                d_gates = d_gates.write(time, d_gate)
                return time - 1, tf.matmul(d_gate, back), d_cell, d_gates

            d_gates = tf.TensorArray(steps.dtype, num_steps, element_shape=(None, bias.shape[0]))
            start = num_steps - 1, tf.zeros_like(hidden), tf.zeros_like(cell), d_gates
            _, d_hidden, d_cell, d_gates = tf.while_loop(lambda time, *_: time >= 0, step, start)
            d_gates = d_gates.stack()  # (time, batch, 4 * hidden)
            flat = tf.reshape(d_gates, (-1, bias.shape[0]))
            inputs = tf.reshape(steps, (-1, kernel.shape[0]))
            came = tf.reshape(tf.concat([hidden[None], hiddens[:-1]], axis=0), (-1, recurrent.shape[0]))
            return (
                tf.reshape(tf.matmul(flat, _swap_middle(kernel), transpose_b=True), tf.shape(steps)),
                d_hidden,
                d_cell,
                _swap_middle(tf.matmul(inputs, flat, transpose_a=True)),
                _swap_middle(tf.matmul(came, flat, transpose_a=True)),
                _swap_middle(tf.reduce_sum(flat, axis=0)),
            )

        return (hiddens, cells), gradient

    return walk(steps, hidden, cell, kernel, recurrent, bias)


def _swap_middle(weights):
    """Weights (…, 4 * hidden) with the second and the third gate in each other's place."""
    i, f, c, o = tf.split(weights, 4, axis=-1)
    return tf.concat([i, c, f, o], axis=-1)
