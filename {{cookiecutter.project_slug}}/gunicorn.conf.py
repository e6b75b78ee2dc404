"""gunicorn, configured once for laptops, images and Kubernetes; figures come from the settings (src/app/config.py).

Answers are written by a loop thread in each worker and outlive the requests that asked for them, so a worker that has
to go, on SIGTERM or to be recycled, drains first: it takes no new runs, sends its streams elsewhere and finishes its
answers.
"""

import gc
import resource
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

# Every room is imported before the fork: workers share its memory, are quick to replace, and make an application each.
from app import accounts, admin, cache, chat, jobs, operations, pages, pwa  # noqa: F401
from app.chat.runs import stale
from app.config import SettingsError, load

try:
    settings = load()
except SettingsError as error:
    raise SystemExit(str(error)) from None

# An open stream is a file descriptor, not a thread.
_, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most_files, 65_536), most_files))

bind = f"0.0.0.0:{settings.port}" if not settings.development else f"127.0.0.1:{settings.port}"
workers = settings.web_concurrency
worker_class = "gthread"
threads = settings.web_threads
max_requests = settings.max_requests_per_worker
max_requests_jitter = max_requests // 10  # so that workers do not go at the same time
timeout = 60  # of the worker's own heartbeat, not of requests
graceful_timeout = int(settings.run_timeout_seconds) + 15
keepalive = 75  # longer than a proxy keeps its side, so that the proxy never writes to a closed connection
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 (memory: a disk may stall)
loglevel = "info" if settings.development else "warning"  # which tells where it listens


def pre_request(worker, req):
    """A stream's connection ends with it; a proxy that was not told would send its next request there."""
    if req.path.endswith("/events"):
        req.force_close()


def post_request(worker, req, environ, resp):
    """Take what is left of a body that was refused unread: a connection closed before that may lose the answer."""
    with suppress(OSError):  # whoever sent it has gone
        req.body.read(min(int(environ.get("CONTENT_LENGTH", 0)), 10_000_000))


def post_worker_init(worker):
    """Close what a killed process left behind, start on jobs, and begin to drain as soon as this worker is to end."""
    gc.set_threshold(50_000, 20, 100)  # looking for garbage as often as Python does by itself is 6 % of an answer
    worker.tpool.shutdown = lambda wait: None  # gunicorn's signal handler calls it, and may hold its lock already
    worker.wsgi.extensions["assets"].publish()
    stale.close_all_stale(worker.wsgi)
    worker.stop_jobs = jobs.start_embedded(worker.wsgi, settings.run_timeout_seconds)

    def watch():
        most = settings.max_worker_memory_mb * 1024 * (1 - worker.pid % 10 / 100)
        while worker.alive:
            time.sleep(0.2)
            if most and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > most:
                worker.alive = False  # as when it has answered enough requests
        worker.wsgi.extensions["runner"].begin_drain()

    threading.Thread(target=watch, name="drain", daemon=True).start()


def worker_exit(server, worker):
    """Finish the answers of this worker; SIGQUIT and SIGINT (Ctrl-C) cut them off and save what is there."""
    if worker.booted:
        quick = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        worker.wsgi.extensions["runner"].finish_drain(0 if quick else settings.run_timeout_seconds)
        worker.stop_jobs()


def worker_int(worker):
    """Ctrl-C comes twice, from the terminal and from the master: the second must not break off what the first began."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
