"""A bare ONNX Runtime session, asked over stdin: python onnx_session.py FOLDER THREADS.

A line of JSON, a list of texts, is answered by a line of JSON: seconds per text of the session alone and
with tokenising, pooling and normalising. The texts are run one by one.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def main() -> None:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    file = str(folder / "onnx" / "model.onnx")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    print(flush=True)
    for line in sys.stdin:
        print(
            json.dumps([timed(session, tokenizer, text) for text in json.loads(line)]), flush=True
        )


def timed(
    session: onnxruntime.InferenceSession, tokenizer: Tokenizer, text: str
) -> tuple[float, float]:
    begun = time.perf_counter()
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
    feed = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    running = time.perf_counter()
    (states,) = session.run(None, feed)
    ran = time.perf_counter()
    vector = states[0].mean(0)
    vector /= np.linalg.norm(vector)
    return ran - running, time.perf_counter() - begun


if __name__ == "__main__":
    main()
