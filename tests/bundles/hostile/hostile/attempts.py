"""The attempts, one function each; whatever they raise is their outcome."""

import asyncio
import ctypes
import errno
import mmap
import os
import platform
import resource
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
ADD_KEY, BPF, PERF, PTRACE, READV, USERFAULTFD = (
    (248, 321, 298, 101, 310, 323) if X86 else (217, 280, 241, 117, 270, 282)
)
IO_URING_SETUP, PIDFD_OPEN = 425, 434
BUFFER = ctypes.create_string_buffer(4096)


def call(number: int, *arguments: Any) -> int:
    """A system call, past whatever the C library thinks of it."""
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    return checked(int(result))


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def outcome(attempt: Callable[[], Any]) -> str:
    try:
        got = attempt()
    except MemoryError:
        return "MemoryError"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the outcome
        return type(error).__name__
    return "open" if got is None else f"open: {got}"


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def program(*command: str) -> Callable[[], int]:
    return lambda: subprocess.run(command, check=False, capture_output=True).returncode


def connect(port: int) -> None:
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.connect(("127.0.0.1", port))


def connect_by_sending(port: int) -> None:
    """TCP fast open: no call to connect."""
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.sendto(b"x", 0x2000_0000, ("127.0.0.1", port))


def turned_pair(path: str) -> None:
    """Half of a pair of datagram sockets, sending to a socket of somebody else."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.sendto(b"x", path)


def shared_memory() -> None:
    """Memory that would stay while a page of it is mapped, and count for that page."""
    mmap.mmap(-1, 1 << 20).close()


def bind(port: int) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))


def listen() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()


def make_socket(*kind: int) -> Callable[[], None]:
    return lambda: socket.socket(*kind).close()


def abstract(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"\0{name}")


def descriptors() -> int:
    held: list[int] = []
    try:
        while len(held) < 20_000:
            held.append(os.open(os.devnull, os.O_RDONLY))
        return len(held)
    finally:
        for descriptor in held:
            os.close(descriptor)


def one_large_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(200 << 20)


def memory() -> int:
    return len(bytearray(3 << 30))


def peek(pid: int) -> None:
    """process_vm_readv of one byte of another process."""
    local = (ctypes.c_size_t * 2)(ctypes.addressof(BUFFER), 1)
    call(READV, pid, local, 1, local, 1, 0)


def escape_by_link(secret: str) -> str:
    link = Path(tempfile.gettempdir()) / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    return link.read_text()[:4]


def ordinary() -> dict[str, Callable[[], Any]]:
    """What must work all the same."""

    def thread() -> None:
        started = threading.Thread(target=lambda: None)
        started.start()
        started.join()

    def write() -> None:
        place = Path(tempfile.gettempdir()) / "mine"
        place.write_text("x")
        place.unlink()

    return {
        "ok: write to its own scratch": write,
        "ok: load another module": lambda: __import__("xml.dom.minidom") and None,
        "ok: run a thread": thread,
        "ok: read a certificate store": lambda: __import__("ssl").create_default_context() and None,
        "ok: look up localhost": lambda: socket.getaddrinfo("localhost", 80) and None,
        "ok: random bytes": lambda: os.urandom(4) and None,
        "ok: read /proc/self": lambda: Path("/proc/self/statm").read_text() and None,
    }


async def attempts(params: Any) -> dict[str, str]:
    """Make all of them."""
    runtime, sibling = params.runtime, params.sibling
    tries: dict[str, Callable[[], Any]] = {
        **ordinary(),
        "read /etc/shadow": lambda: len(Path("/etc/shadow").read_text()) and None,
        "read the node's signing key": lambda: len(Path(params.secret).read_text()) and None,
        "read it through a link": lambda: escape_by_link(params.secret) and None,
        "change its mode": lambda: os.chmod(params.secret, 0o600),  # noqa: PTH101
        "read another worker's scratch": lambda: os.listdir(params.others_scratch) and None,  # noqa: PTH208
        "list everybody's scratch": lambda: os.listdir(Path(params.others_scratch).parent) and None,  # noqa: PTH208
        "write outside its scratch": lambda: (Path(params.outside) / "evil").write_text("x") and None,
        "write to its own code": lambda: Path(__file__).with_name("evil.py").write_text("x") and None,
        "read the runtime's environment": lambda: len(Path(f"/proc/{runtime}/environ").read_bytes()) and None,
        "read the runtime's memory": lambda: os.close(os.open(f"/proc/{runtime}/mem", os.O_RDONLY)),
        "read a sibling's memory": lambda: os.close(os.open(f"/proc/{sibling}/mem", os.O_RDONLY)),
        "process_vm_readv of a sibling": lambda: peek(sibling),
        "ptrace a sibling": lambda: call(PTRACE, 16, sibling, 0, 0) and None,
        "signal the runtime": lambda: os.kill(runtime, 0),
        "signal a sibling": lambda: os.kill(sibling, 0),
        "signal everybody": lambda: os.kill(-1, 0),
        "pidfd_open a sibling": lambda: os.close(call(PIDFD_OPEN, sibling, 0)),
        "raise a sibling's niceness": lambda: os.setpriority(os.PRIO_PROCESS, sibling, 1),
        "outlive the runtime": lambda: checked(LIBC.prctl(1, 0, 0, 0, 0)) and None,
        "fork": fork,
        "run a program": program("/bin/true"),
        "run a set-uid program": program("/bin/su", "--version"),
        "run with LD_PRELOAD": lambda: subprocess.run(["/bin/true"], env={"LD_PRELOAD": "x"}, check=False).returncode,
        "become root": lambda: os.setuid(0),
        "mount": lambda: checked(LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, b"")) and None,
        "unshare users": lambda: checked(LIBC.unshare(0x10000000)) and None,
        "chroot": lambda: os.chroot("/"),
        "raw ICMP socket": make_socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "packet socket": make_socket(17, socket.SOCK_RAW, 8),
        "vsock socket": make_socket(40, socket.SOCK_STREAM),
        "crypto socket": make_socket(38, socket.SOCK_SEQPACKET),
        "UNIX socket": make_socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "abstract UNIX socket": lambda: abstract(params.abstract),
        "UDP socket": make_socket(socket.AF_INET, socket.SOCK_DGRAM),
        "connect to a port it did not ask for": lambda: connect(params.open_port),
        "connect to it by fast open": lambda: connect_by_sending(params.open_port),
        "datagram through a pair": lambda: turned_pair(params.datagrams),
        "bind a port": lambda: bind(45_678),
        "listen": listen,
        "add_key": lambda: call(ADD_KEY, b"user", b"mmn", b"x", 1, -3) and None,
        "bpf": lambda: call(BPF, 0, BUFFER, 48) and None,
        "perf_event_open": lambda: call(PERF, BUFFER, 0, -1, -1, 0) and None,
        "io_uring_setup": lambda: os.close(call(IO_URING_SETUP, 2, ctypes.create_string_buffer(120))),
        "shared memory": shared_memory,
        "memfd_create": lambda: os.close(os.memfd_create("mmn")),
        "userfaultfd": lambda: os.close(call(USERFAULTFD, 1)),
        "raise its own limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (50_000, 50_000)),
        "20000 descriptors": descriptors,
        "a file of 200 MB": one_large_file,
        "3 GB of memory": memory,
    }
    outcomes: dict[str, str] = {}
    for name, attempt in tries.items():
        outcomes[name] = outcome(attempt)
        # The heart goes on beating, so that nothing but the box ends this.
        await asyncio.sleep(0.001)
    return outcomes
