"""An SQS server for the tests: moto's, with what would disturb them set right.

    python tests/support/sqs_server.py PORT [ADDRESS]

moto answers each request in a thread of its own, and its queues are plain lists that these threads
rewrite: a message sent while another is deleted can be lost, and one can be given to two consumers. Here
whatever reads or writes a queue holds that queue's lock. moto counts a queue's messages several times
for each one that is sent or received; here they are counted when somebody asks, deleting looks at the
newest receipts first, and receiving looks no further than it must, so that ten thousand messages take
seconds. A long poll whose client has gone ends and takes nothing. What a request means is moto's own.

The same server is the S3 of the tests (it tells services apart by their signatures). moto says that
every unfinished object was begun in 2010; here it is when it was.
"""

import datetime
import socket
import sys
import time

import flask

from moto.s3.models import FakeMultipart
from moto.s3.responses import S3Response
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.sqs.models import Message, Queue, SQSBackend
from werkzeug.serving import run_simple

# How long a long poll sleeps before it looks for what became visible by the passing of time.
LOOK = 0.05


def locked(name):
    """Makes a method of the backend hold the lock of the queue that it is about."""
    inner = getattr(SQSBackend, name)

    def method(self, queue_name, *rest, **named):
        with self.get_queue(queue_name)._messages_lock:
            return inner(self, queue_name, *rest, **named)

    setattr(SQSBackend, name, method)


for name in ["send_message", "change_message_visibility"]:
    locked(name)

COUNTS = {
    "ApproximateNumberOfMessages": lambda queue: sum(1 for _ in queue.messages),
    "ApproximateNumberOfMessagesDelayed": lambda queue: sum(m.delayed for m in queue._messages),
    "ApproximateNumberOfMessagesNotVisible": lambda queue: sum(not m.visible for m in queue._messages),
}
Queue.BASE_ATTRIBUTES = [name for name in Queue.BASE_ATTRIBUTES if name not in COUNTS]
Queue.messages = property(lambda self: (m for m in self._messages if m.visible and not m.delayed))
Message.visible = property(lambda self: time.time() * 1000 > self.visible_at)
Message.delayed = property(lambda self: time.time() * 1000 < self.delayed_until)
get_attributes = SQSBackend.get_queue_attributes


def get_queue_attributes(self, queue_name, names):
    queue = self.get_queue(queue_name)
    found = get_attributes(self, queue_name, [name for name in names if name not in COUNTS])
    with queue._messages_lock:
        counts = {n: str(count(queue)) for n, count in COUNTS.items() if n in names or "All" in names}
    return found | counts


SQSBackend.get_queue_attributes = get_queue_attributes


def client_is_gone():
    """Whether the client closed its end of the connection that the present request came by."""
    peer = flask.request.environ["werkzeug.socket"]
    try:
        return peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


receive = SQSBackend.receive_message


def receive_message(self, queue_name, count, wait_seconds_timeout, *rest, **named):
    until = time.monotonic() + wait_seconds_timeout
    while True:
        queue = self.get_queue(queue_name)
        if client_is_gone():
            return []
        with queue._messages_lock:
            found = receive(self, queue_name, count, 0, *rest, **named)
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            queue._messages_lock.wait(min(left, LOOK))


SQSBackend.receive_message = receive_message

delete = Queue.delete_message


def delete_message(self, receipt_handle):
    with self._messages_lock:
        for place, message in enumerate(self._messages):
            if message.receipt_handle == receipt_handle:
                self.pending_messages.discard(message)
                self.deleted_messages.update(message.all_receipt_handles)
                del self._messages[place]
                return
        delete(self, receipt_handle)


Queue.delete_message = delete_message

begin = FakeMultipart.__init__


def begin_multipart(self, *rest, **named):
    begin(self, *rest, **named)
    BEGUN[self.id] = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


BEGUN = {}
FakeMultipart.__init__ = begin_multipart
list_multiparts = S3Response.list_multipart_uploads


def list_multipart_uploads(self):
    serialized = self.serialized

    def dated(answer):
        for upload in answer.result["Uploads"]:
            upload["Initiated"] = BEGUN[upload["UploadId"]]
        return serialized(answer)

    self.serialized = dated
    return list_multiparts(self)


S3Response.list_multipart_uploads = list_multipart_uploads

app = DomainDispatcherApplication(create_backend_app)
address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
run_simple(address, int(sys.argv[1]), app, threaded=True)
