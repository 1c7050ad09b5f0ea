"""What a model's process calls: predictions, truth, feedback, events, logs and resources, sent in the background.

The caller's side of a call copies what it was given into a bounded buffer and returns. One daemon thread per process
turns the buffer into columns, sends them, and keeps them on disk while the server is away. Nothing here raises into
the model, waits for the network on its thread, or imports numpy.
"""
