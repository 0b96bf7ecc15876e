"""A machine that may be taken away, with its disk: the checkpoint lies in S3, and the next machine goes on.

export CHECKPOINT_STORE='s3://my-bucket/checkpoints?region=eu-central-1'    # pip install 'resumable-loops[s3]'
python -m examples.guide.spot_machine       # at the start of every machine, as in its user data
"""

import threading
import time
from urllib.request import Request, urlopen

import resumable

METADATA = "http://169.254.169.254/latest"  # Amazon's machines say there, two minutes before, that they are taken away


def stop_in_time(metadata: str, seconds: float) -> None:
    while True:
        try:
            ask = Request(f"{metadata}/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
            token = {"X-aws-ec2-metadata-token": urlopen(ask, timeout=2).read().decode()}
            told = Request(f"{metadata}/meta-data/spot/instance-action", headers=token)
            urlopen(told, timeout=2).close()
            return resumable.stop()
        except OSError:  # not yet, or this is no such machine
            threading.Event().wait(seconds)


def main(metadata: str = METADATA, seconds: float = 5) -> int:
    with resumable.checkpointed("on a spot machine") as cp:
        threading.Thread(target=stop_in_time, args=(metadata, seconds), daemon=True).start()
        squares = cp.mapping("squares")
        for number in cp.remaining(range(100)):
            time.sleep(0.02)
            squares[str(number)] = number * number
        return sum(squares.values())


if __name__ == "__main__":
    print(main())
