"""Checks of exercise 16: affine and symmetric codes, integer products, half bytes, calibration."""

import functools

import numpy as np

from course_lib.compression import quantization
from course_lib.data import load_glove_6b_50d
from course_lib.grading.checks import Check, Exercise, WrongAnswer

PERCENTILES = [90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 100.0]
# Rows of the calibration and of the validation vectors, and bits, where the best percentile is another one
# by the error on the calibration vectors, by the largest error, by the error of what is not clipped, and with
# limits from the validation vectors.
PARTS = (
    (0, 300, 2000, 2400, 4),
    (0, 300, 2000, 2400, 3),
    (0, 300, 20000, 20400, 4),
    (200, 600, 2000, 2400, 6),
    (200, 600, 20000, 20400, 6),
    (200, 600, 150000, 150400, 4),
    (5000, 5500, 20000, 20400, 4),
    (5000, 5500, 150000, 150400, 6),
    (5000, 5500, 300000, 300400, 6),
    (50000, 50400, 300000, 300400, 4),
)


def largest_error(low, high, bits):
    """Half the distance of two levels that lie side by side."""
    levels = np.linspace(low, high, 2**bits)
    return float((levels[1] - levels[0]) / 2)


def affine_codes(values):
    """Number by number, as in the lesson's loop."""
    low, high = min(*values.tolist(), 0.0), max(*values.tolist(), 0.0)
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    codes = [min(max(round(value / scale) + zero_point, 0), 255) for value in values.tolist()]
    return np.array(codes, np.uint8), scale, zero_point


def quantize_columns(weights):
    codes, scales = np.zeros(weights.shape, np.int8), np.ones(weights.shape[1])
    for column, values in enumerate(weights.T):
        if values.any():
            scales[column] = max(abs(values.min()), abs(values.max())) / 127
            codes[:, column] = [round(value / scales[column]) for value in values]
    return codes, scales


def integer_product(x_codes, x_scale, x_zero, w_codes, w_scales):
    sums = (x_codes.astype(np.int64) - x_zero) @ w_codes.astype(np.int64)
    return sums, x_scale * w_scales * sums


def pack(codes):
    halves = [f"{code + 8:04b}" for code in codes.tolist()]
    halves += ["1000"] * (len(halves) % 2)
    pairs = zip(halves[0::2], halves[1::2], strict=True)
    return np.array([int(second + first, 2) for first, second in pairs], np.uint8)


@functools.cache
def choose_percentile(start, end, validation_start, validation_end, bits):
    vectors = load_glove_6b_50d()[1]
    values, errors = vectors[validation_start:validation_end], []
    for percentile in PERCENTILES:
        limit = float(np.percentile(np.abs(vectors[start:end]), percentile))
        quantized = quantization.quantize_affine(values, bits=bits, limits=(-limit, limit))
        errors.append(float(np.sqrt(np.mean((values - quantization.dequantize(quantized)) ** 2))))
    return PERCENTILES[errors.index(min(errors))], min(errors)


def _ranges(random):
    ends = [tuple(sorted(random.normal(0, 3, 2).round(3).tolist())) for _ in range(4)]
    return [(low, high, bits) for (low, high), bits in zip(ends, (8, 4, 2, 3), strict=True)]


def _values(random):
    return [(random.normal(center, 2, 60).round(4),) for center in (0.3, -1.1, 0.8)]


def _one_sided_values(random):
    return [(random.uniform(2, 5, 20).round(4),), (random.uniform(-9, -4, 20).round(4),)]


def _weights(random):
    """Columns of very different size; in the first, the largest magnitude is negative."""
    cases = []
    for shape in ((6, 6), (5, 3), (8, 4)):
        weights = random.normal(size=shape) * 10.0 ** random.integers(-2, 2, shape[1])
        weights[0, 0] = -1.5 * np.abs(weights[:, 0]).max()
        cases.append((weights.round(5),))
    return cases


def _weights_with_zeros(random):
    weights = random.normal(size=(4, 5)).round(4)
    weights[:, 2] = 0
    return [(weights,), (np.zeros((3, 2)),)]


def _quantized(random, num_inputs, zero_point):
    codes = random.integers(zero_point, 256, num_inputs).astype(np.uint8)
    weights = random.integers(-127, 128, (num_inputs, 3)).astype(np.int8)
    weights[:, 0] = np.abs(weights[:, 0])
    scales = random.uniform(0.001, 0.02, 3).round(5)
    return codes, round(float(random.uniform(0.005, 0.05)), 5), zero_point, weights, scales


def _few_inputs(random):
    x_codes, x_scale, _, w_codes, w_scales = _quantized(random, 3, 0)
    small = (w_codes // 8).astype(np.int8)
    return [(x_codes, x_scale, 0, small, w_scales), (x_codes, x_scale, int(x_codes.max()), small, w_scales)]


def _many_inputs(random):
    return [_quantized(random, num_inputs, 0) for num_inputs in (400, 1000)]


def _codes(random):
    return [(random.integers(-7, 8, size).astype(np.int8),) for size in (2, 8, 14)]


def _odd_codes(random):
    return [(random.integers(-7, 8, size).astype(np.int8),) for size in (1, 5, 9)]


def _parts(random):
    return [PARTS[place] for place in random.choice(len(PARTS), 3, replace=False)]


PERCENTILE_CALL = (
    "choose_percentile(glove_vectors[args[0]:args[1]], glove_vectors[args[2]:args[3]], args[4], "
    "[90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 100.0])"
)
CLOSE = 1e-6
EXERCISE = Exercise(
    datasets=("glove_6b_50d",),
    checks=(
        Check(
            "q1",
            "largest-error",
            2,
            "largest_error(*args)",
            _ranges,
            largest_error,
            "2**b levels have 2**b - 1 steps between them, and rounding errs by half a step at most.",
            "16_quantization#bound",
            CLOSE,
        ),
        Check(
            "q2",
            "affine-codes",
            2,
            "(lambda found: (found, str(getattr(found[0], 'dtype', None))))(affine_codes(*args))",
            _values,
            lambda values: (affine_codes(values), "uint8"),
            "x / s and -min / s are each rounded to the nearest integer, and only then added; the codes are "
            "uint8.",
            "16_quantization#five-loop",
            CLOSE,
        ),
        Check(
            "q2",
            "affine-zero",
            1,
            "affine_codes(*args)",
            _one_sided_values,
            affine_codes,
            "Where all values have one sign, the range must be widened to 0, or 0 has no code.",
            "16_quantization#five",
            CLOSE,
        ),
        Check(
            "q3",
            "symmetric-columns",
            2,
            "(lambda found: (found, str(getattr(found[0], 'dtype', None))))(quantize_columns(*args))",
            _weights,
            lambda weights: (quantize_columns(weights), "int8"),
            "Each column has a scale of its own, from its largest magnitude, be it negative, divided by 127; "
            "the codes are int8.",
            "16_quantization#channels",
            CLOSE,
        ),
        Check(
            "q3",
            "symmetric-zeros",
            1,
            "quantize_columns(*args)",
            _weights_with_zeros,
            quantize_columns,
            "A column of zeros has no largest magnitude to divide by: its codes are 0 and its scale is 1.",
            "16_quantization#symmetric",
            CLOSE,
        ),
        Check(
            "q4",
            "product-few",
            1,
            "integer_product(*args)",
            _few_inputs,
            integer_product,
            "The zero point of the inputs is taken off before the product, in more than 8 bits; the sums "
            "stay integers, and both scales belong to the product.",
            "16_quantization#integers",
            CLOSE,
        ),
        Check(
            "q4",
            "product-many",
            2,
            "integer_product(*args)",
            _many_inputs,
            integer_product,
            "A product of two 8-bit codes fits into 16 bits, a sum of many of them does not: convert to "
            "32-bit integers before you multiply.",
            "16_quantization#integers-code",
            CLOSE,
        ),
        Check(
            "q5",
            "packed-pairs",
            2,
            "(lambda found: (found, str(getattr(found, 'dtype', None))))(pack(*args))",
            _codes,
            lambda codes: (pack(codes), "uint8"),
            "The first code of a pair stands in the low half of the byte, and 8 is added to each, so that "
            "negative codes have room; the bytes are uint8.",
            "16_quantization#nibbles",
        ),
        Check(
            "q5",
            "packed-odd",
            1,
            "pack(*args)",
            _odd_codes,
            pack,
            "An odd number of codes gets one more code of 0, which is 8 once 8 is added.",
            "16_quantization#nibbles",
        ),
        Check(
            "q6",
            "percentile-chosen",
            3,
            PERCENTILE_CALL + "[0]",
            _parts,
            lambda *part: choose_percentile(*part)[0],
            "The limits come from the calibration vectors, the choice from the RMS error on the validation "
            "vectors, in which the clipped numbers count like all others.",
            "16_quantization#percentile-run",
            CLOSE,
        ),
        Check(
            "q6",
            "percentile-error",
            1,
            PERCENTILE_CALL + "[1]",
            _parts,
            lambda *part: choose_percentile(*part)[1],
            "The second value is the RMS error on all numbers of the validation vectors.",
            "16_quantization#percentile-run",
            CLOSE,
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "as many steps as levels",
            "q1",
            "def largest_error(low, high, bits):\n    return (high - low) / 2**bits / 2\n",
            "largest-error",
        ),
        WrongAnswer(
            "a whole step",
            "q1",
            "def largest_error(low, high, bits):\n    return (high - low) / (2**bits - 1)\n",
            "largest-error",
        ),
        WrongAnswer(
            "cut off instead of rounded",
            "q2",
            "def affine_codes(values):\n"
            "    low, high = min(values.min(), 0.0), max(values.max(), 0.0)\n"
            "    scale = (high - low) / 255\n"
            "    zero_point = int(-low / scale)\n"
            "    codes = np.clip((values / scale).astype(int) + zero_point, 0, 255).astype(np.uint8)\n"
            "    return codes, float(scale), zero_point\n",
            "affine-codes",
        ),
        WrongAnswer(
            "codes left as floats",
            "q2",
            "def affine_codes(values):\n"
            "    low, high = min(values.min(), 0.0), max(values.max(), 0.0)\n"
            "    scale = (high - low) / 255\n"
            "    zero_point = np.rint(-low / scale)\n"
            "    codes = np.clip(np.rint(values / scale) + zero_point, 0, 255)\n"
            "    return codes, float(scale), int(zero_point)\n",
            "affine-codes",
        ),
        WrongAnswer(
            "range not widened to hold 0",
            "q2",
            "def affine_codes(values):\n"
            "    scale = (values.max() - values.min()) / 255\n"
            "    zero_point = int(np.clip(np.rint(-values.min() / scale), 0, 255))\n"
            "    codes = np.clip(np.rint(values / scale) + zero_point, 0, 255).astype(np.uint8)\n"
            "    return codes, float(scale), zero_point\n",
            "affine-zero",
        ),
        WrongAnswer(
            "one scale for the matrix",
            "q3",
            "def quantize_columns(weights):\n"
            "    scales = np.full(weights.shape[1], np.abs(weights).max() / 127)\n"
            "    scales = np.where(np.abs(weights).max(axis=0) > 0, scales, 1.0)\n"
            "    return np.rint(weights / scales).astype(np.int8), scales\n",
            "symmetric-columns",
        ),
        WrongAnswer(
            "a scale for each row",
            "q3",
            "def quantize_columns(weights):\n"
            "    scales = np.abs(weights).max(axis=1) / 127\n"
            "    scales = np.where(scales > 0, scales, 1.0)\n"
            "    return np.rint(weights / scales[:, None]).astype(np.int8), scales\n",
            "symmetric-columns",
        ),
        WrongAnswer(
            "codes of 64 bits",
            "q3",
            "def quantize_columns(weights):\n"
            "    scales = np.abs(weights).max(axis=0) / 127\n"
            "    scales = np.where(scales > 0, scales, 1.0)\n"
            "    return np.rint(weights / scales).astype(int), scales\n",
            "symmetric-columns",
        ),
        WrongAnswer(
            "zero point forgotten",
            "q4",
            "def integer_product(x_codes, x_scale, x_zero, w_codes, w_scales):\n"
            "    sums = x_codes.astype(np.int32) @ w_codes.astype(np.int32)\n"
            "    return sums, x_scale * w_scales * sums\n",
            "product-few",
        ),
        WrongAnswer(
            "zero point taken off in 8 bits",
            "q4",
            "def integer_product(x_codes, x_scale, x_zero, w_codes, w_scales):\n"
            "    sums = (x_codes - np.uint8(x_zero)).astype(np.int32) @ w_codes.astype(np.int32)\n"
            "    return sums, x_scale * w_scales * sums\n",
            "product-few",
        ),
        WrongAnswer(
            "summed in floats",
            "q4",
            "def integer_product(x_codes, x_scale, x_zero, w_codes, w_scales):\n"
            "    sums = (x_codes.astype(float) - x_zero) @ w_codes\n"
            "    return sums, x_scale * w_scales * sums\n",
            "product-few",
        ),
        WrongAnswer(
            "summed in 16 bits",
            "q4",
            "def integer_product(x_codes, x_scale, x_zero, w_codes, w_scales):\n"
            "    sums = (x_codes.astype(np.int16) - np.int16(x_zero)) @ w_codes\n"
            "    return sums, x_scale * w_scales * sums\n",
            "product-many",
        ),
        WrongAnswer(
            "first code in the high half",
            "q5",
            "def pack(codes):\n"
            "    padded = np.append(codes, np.zeros(len(codes) % 2, np.int8))\n"
            "    halves = padded.astype(np.uint8) + np.uint8(8)\n"
            "    return halves[0::2] << 4 | halves[1::2]\n",
            "packed-pairs",
        ),
        WrongAnswer(
            "sign in two's complement instead of 8 added",
            "q5",
            "def pack(codes):\n"
            "    halves = np.append(codes, np.zeros(len(codes) % 2, np.int8)).astype(np.uint8) & 15\n"
            "    return halves[0::2] | halves[1::2] << 4\n",
            "packed-pairs",
        ),
        WrongAnswer(
            "a byte of 64 bits",
            "q5",
            "def pack(codes):\n"
            "    halves = np.append(codes, np.zeros(len(codes) % 2, np.int8)).astype(int) + 8\n"
            "    return halves[0::2] + 16 * halves[1::2]\n",
            "packed-pairs",
        ),
        WrongAnswer(
            "last code of an odd number dropped",
            "q5",
            "def pack(codes):\n"
            "    halves = codes[: len(codes) // 2 * 2].astype(np.uint8) + np.uint8(8)\n"
            "    return halves[0::2] | halves[1::2] << 4\n",
            "packed-odd",
        ),
        WrongAnswer(
            "chosen on the calibration vectors",
            "q6",
            "def choose_percentile(calibration, validation, bits, candidates):\n"
            "    limits = [float(np.percentile(np.abs(calibration), p)) for p in candidates]\n"
            "    errors = [rms_error(calibration, bits, (-limit, limit)) for limit in limits]\n"
            "    best = int(np.argmin(errors))\n"
            "    return candidates[best], errors[best]\n",
            "percentile-chosen",
        ),
        WrongAnswer(
            "clipped numbers left out of the error",
            "q6",
            "def choose_percentile(calibration, validation, bits, candidates):\n"
            "    limits = [float(np.percentile(np.abs(calibration), p)) for p in candidates]\n"
            "    inside = [validation[np.abs(validation) <= limit] for limit in limits]\n"
            "    pairs = zip(inside, limits, strict=True)\n"
            "    errors = [rms_error(values, bits, (-limit, limit)) for values, limit in pairs]\n"
            "    best = int(np.argmin(errors))\n"
            "    return candidates[best], errors[best]\n",
            "percentile-chosen",
        ),
    ),
)
