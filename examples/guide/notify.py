"""Be told when a job waits, stops, fails or is done: by a webhook, Slack, or e-mail.

SLACK_URL=https://hooks.slack.com/services/... python -m examples.guide.notify
"""

import json
import os
import smtplib
import time
import urllib.request

from resumable import Event, checkpointed

TOLD = ("waiting", "stopping", "done")


def post(url: str, body: dict) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def notify(event: Event) -> None:
    """Runs in a thread of its own: what it raises is logged, and harms nothing."""
    if event.name not in TOLD:
        return
    text = f"{event.operation_id}: {event.name} at {event.processed_items} {event.error or event.reason}"
    if url := os.environ.get("WEBHOOK_URL"):
        post(url, event.to_dict())
    if url := os.environ.get("SLACK_URL"):
        post(url, {"text": text})
    if host := os.environ.get("SMTP_HOST"):  # host:port
        with smtplib.SMTP(host, timeout=10) as server:
            server.sendmail("jobs@example.org", os.environ["MAIL_TO"], f"Subject: {text}\r\n\r\n{event.location}")


if __name__ == "__main__":
    with checkpointed("notified", on_event=notify) as cp:
        for number in cp.remaining(range(20)):
            time.sleep(0.01 * number)
