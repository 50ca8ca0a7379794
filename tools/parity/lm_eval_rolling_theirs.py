"""lm-evaluation-harness's own figures of a task of rolling log-likelihood, in the environment that holds it.

`python lm_eval_rolling_theirs.py` reads `[[TEXT, …], [LOG_PROBABILITY, …]]` as JSON from standard input and answers
with one object of JSON: a figure for each metric that the task has, by the task's own counts and aggregation.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    from lm_eval.api.task import PerplexityTask

    texts, sums = json.load(sys.stdin)

    class WithoutData(PerplexityTask):
        def has_validation_docs(self) -> bool:
            return False

        def has_test_docs(self) -> bool:
            return False

    task = WithoutData.__new__(WithoutData)  # beginning one would load its data set
    rows = [task.process_results(text, (total,)) for text, total in zip(texts, sums, strict=True)]
    figures = {name: form([row[name] for row in rows]) for name, form in task.aggregation().items()}
    print(json.dumps(figures), file=answers)


if __name__ == "__main__":
    main()
