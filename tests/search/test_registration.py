"""A command believes the registration of a server only while that server answers."""

from pathlib import Path

from hubbleclip.search.server.client import find_server
from hubbleclip.search.server.registration import Registration, registered
from tests.bad_server import BadServer, give


def is_found(path: Path, server: BadServer) -> bool:
    port = server.port
    with registered(path, Registration(host="127.0.0.1", port=port, instance="killed", token=None, pid=1)):
        return find_server(path) is not None


def test_another_server_at_the_registered_port_is_not_taken_for_the_registered_one(tmp_path: Path) -> None:
    with BadServer(give(b'{"instance": "another", "proof": "another"}')) as server:
        assert not is_found(tmp_path / "server.json", server)
    assert server.seen


def test_the_registration_of_a_killed_server_is_not_believed(tmp_path: Path) -> None:
    with BadServer(give(b"{}")) as server:
        pass
    assert not is_found(tmp_path / "server.json", server)
