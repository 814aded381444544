"""Using trained models: from raw input to an answer, without TensorFlow."""
