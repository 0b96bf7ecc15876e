"""A Kubernetes job whose pods come and go: the checkpoint lies in PostgreSQL, and the next pod goes on.

    env: [{name: CHECKPOINT_STORE, valueFrom: {secretKeyRef: {name: checkpoints, key: url}}}]
    command: ["python", "-m", "examples.guide.kubernetes_job"]      # restartPolicy: OnFailure

kubectl create secret generic checkpoints --from-literal=url='postgresql://keeper:PASSWORD@db/checkpoints?lease=30'
pip install 'resumable-loops[sql]'; a pod that vanished is waited for no longer than its lease lasts.
"""

import time

from resumable import checkpointed


def main() -> int:
    """Do every item. Pods that are evicted get SIGTERM, save, and end; those that vanish lose a second at most."""
    with checkpointed("a job in pods", on_store_error="continue") as cp:
        squares = cp.mapping("squares")
        for number in cp.remaining(range(60)):
            time.sleep(0.02)
            squares[str(number)] = number * number
        return sum(squares.values())


if __name__ == "__main__":
    print(main())
