"""The package behind *Large NLP models from scratch*: notebooks teach, `course_lib` computes, the app shows.

Importing it is cheap and needs no TensorFlow; the rooms that need it import it themselves.
"""
