"""An evaluation for tests: asks the endpoint, writes a result, samples.   tiny_eval.py URL RESULTS_DIR [QUESTIONS [SECONDS EACH]] | fail"""

import json
import sys
import time
import urllib.request
from pathlib import Path

url, results, questions = sys.argv[1], Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "5"
pause = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
if questions == "fail":
    sys.exit("Traceback: \x1b[31mthe harness\x1b[0m cannot find its data")
samples = []
for number in range(int(questions)):
    print(f"question {number + 1} of {questions}", flush=True)
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": f"{number} + 1"}]}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        right = json.load(reply)["choices"][0]["message"]["content"] == str(number + 1)
    samples.append({"prompt": f"{number} + 1", "target": str(number + 1), "scores": {"accuracy": right}})
    time.sleep(pause)
results.mkdir(parents=True, exist_ok=True)
metrics = [
    {
        "name": "accuracy",
        "value": sum(sample["scores"]["accuracy"] for sample in samples) / int(questions),
        "stderr": 0.1,
        "n": int(questions),
    }
]
(results / "results.json").write_text(json.dumps({"schema": 1, "metrics": metrics}))
(results / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
