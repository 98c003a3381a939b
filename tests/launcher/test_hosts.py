import pytest

from launcher import frames, hosts
from launcher.arguments import UsageError
from launcher.hosts import Host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [Host("a")]),
        ("a:2,b:3", [Host("a", 2), Host("b", 3)]),
        ("user@node-1.example.org:4", [Host("user@node-1.example.org", 4)]),
        ("10.0.0.1:2", [Host("10.0.0.1", 2)]),
        ("[fe80::1%eth0]:2,[::1]", [Host("[fe80::1%eth0]", 2), Host("[::1]")]),
    ],
)
def test_hosts_have_slots(text, expected):
    assert hosts.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected [user@]host"),
        ("a,,b", "received ''"),
        ("a:0", "1 to 4096 slots"),
        ("a:x", "received 'a:x'"),
        ("a:2,b,a", "a stands there twice"),
        ("-oProxyCommand=reboot", "expected [user@]host"),
        ("a;reboot", "expected [user@]host"),
        ("u@-v", "expected [user@]host"),
    ],
)
def test_what_is_no_host_is_refused(text, words):
    with pytest.raises(UsageError) as caught:
        hosts.parse(text)
    assert words in str(caught.value)


def test_a_file_has_a_host_a_line(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# nodes\na slots=2\n\n  b:3 # fast\nuser@c\n")
    assert hosts.read(path) == [Host("a", 2), Host("b", 3), Host("user@c")]
    path.write_text("a slots=2 max_slots=4\n")
    with pytest.raises(UsageError, match=r"hosts:1 must be `name`"):
        hosts.read(path)


def test_slots_are_filled_host_by_host():
    a, b, c = Host("a", 2), Host("b", 2), Host("c", 2)
    assert [
        (p.rank, p.host.name, p.local_rank, p.local_size) for p in hosts.place([a, b, c], 3)
    ] == [
        (0, "a", 0, 2),
        (1, "a", 1, 2),
        (2, "b", 0, 1),
    ]
    with pytest.raises(UsageError, match=r"the hosts have 4 \(a:2, b:2\)"):
        hosts.place([a, b], 5)


def test_ipv6_goes_to_ssh_without_brackets():
    assert Host("u@[::1]").destination == "u@::1"


def test_frames_are_found_after_the_words_of_a_login_script():
    data = b"Welcome!\n" + frames.encode(frames.OUT, 3, b"x\ny") + frames.encode(frames.ERR, 0, b"")
    for size in (1, 7, 1000):
        decoder, found = frames.Decoder(), []
        for start in range(0, len(data), size):
            found += decoder.feed(data[start : start + size])
        assert found == [(frames.OUT, 3, b"x\ny"), (frames.ERR, 0, b"")]


def test_something_else_among_the_frames_is_refused():
    decoder = frames.Decoder()
    list(decoder.feed(frames.encode(frames.OUT, 0, b"x")))
    with pytest.raises(frames.BadFrame, match="expected a frame"):
        list(decoder.feed(b"Segmentation fault (core dumped)"))
