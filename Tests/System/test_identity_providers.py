"""Keys of issuers that control fetches: a real fleet of processes, and identity providers that are honest, move on, lie or hang.

The honest ones are LemonLDAP::NG (lemonldap.py) and shared/fixtures/idp/advop.py; what they do not do is done by a server in this process, over TLS of an authority
of its own."""
import concurrent.futures
import datetime
import http.server
import ipaddress
import json
import os
import pathlib
import re
import ssl
import sys
import tempfile
import threading
import time
import urllib.request

import pytest
import lemonldap
from installation import ROOT, Installation, free_port, wait_for

SHARED = pathlib.Path(os.environ.get("OSTIARY_SHARED", ROOT / "../shared"))
PROVIDER = SHARED / "fixtures/idp/advop.py"


def call(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as response:
        return json.loads(response.read())


class Provider:
    """advop.py: an OpenID provider that signs whatever it is asked to."""

    def __init__(self, installation):
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        installation.spawn(f"idp-{self.port}", sys.executable, PROVIDER, self.port)
        installation.listening(f"idp-{self.port}", self.port)

    def control(self, **settings):
        return call(self.issuer + "/_ctl", settings)

    def token(self, installation, sub="carol", **options):
        claims = {
            "sub": sub, "aud": installation.resource("lab"), "client_id": "agent", "jti": os.urandom(8).hex(),
        }
        return call(self.issuer + "/_mint", {"claims": claims, "opt": {"typ": "at+jwt", **options}})["token"]


class Place(threading.Thread):
    """An HTTPS server whose answers are written down: path → (status, fields, body), or a function of the handler."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.answers, self.hits = {}, []
        authority, chain = certificates(folder)
        self.authority = authority
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.hits.append(self.path)
                answer = outer.answers.get(self.path, (404, {}, b""))
                if callable(answer):
                    return answer(self)
                status, fields, body = answer
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **fields}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.origin = f"https://localhost:{self.server.server_address[1]}"
        self.start()

    def run(self):
        self.server.serve_forever()


def certificates(folder):
    """An authority, and a certificate of it for localhost: their files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, key, issuer, signer, *extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5)).not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = folder / "idp-authority.pem"
    authority.write_bytes(
        certificate("test authority", root, "test authority", root, (x509.BasicConstraints(True, 0), True))
    )
    chain = folder / "idp-chain.pem"
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    chain.write_bytes(
        certificate(
            "localhost", leaf, "test authority", root, (x509.BasicConstraints(False, None), True), (names, False),
            (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False),
        )
        + leaf.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return authority, chain


def absent(what):
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is absent")
    print(f"skipped: {what} is absent")
    pytest.skip(f"{what} is absent")


@pytest.fixture(scope="module")
def world():
    """An installation that may use http on loopback, a provider, and a place of its own TLS."""
    if not PROVIDER.exists():
        absent("shared/fixtures/idp")
    with tempfile.TemporaryDirectory(prefix="ostiary-", ignore_cleanup_errors=True) as folder:
        installation = Installation(folder)
        try:
            place = Place(installation.folder)
            installation.environment.update(
                OSTIARY_IDENTITY_LOOPBACK_HTTP="true", OSTIARY_IDENTITY_CA_FILE=str(place.authority)
            )
            installation.start()
            yield installation, discovered(installation), place
        finally:
            installation.close()


def discovered(installation):
    """A provider whose keys have reached the proxy, without a token that asked for them."""
    provider = Provider(installation)
    configure(installation, {"issuer": provider.issuer, "discovery": True})
    wait_for(lambda: (state(installation, provider.issuer) or ["f"])[0] == "t", "the provider's keys")
    pushed(installation)
    return provider


def pushed(installation):
    """Until the proxy has applied the newest configuration."""
    version = installation.sql("select configuration_version from namespace where name = 'demo'")[0][0]
    applied = lambda: re.findall(r'configuration applied.*?snapshot\.version\W+(\d+)', installation.log("proxy"))
    wait_for(lambda: any(int(one) >= int(version) for one in applied()), f"configuration {version} at the proxy")


def configure(installation, *providers, subject="carol"):
    """Adds identity providers with a subject at each."""
    file = installation.folder / "providers.json"
    file.write_text(json.dumps({
        "namespace": "demo",
        "identityProviders": [
            {"algorithms": ["RS256", "ES256"], "tokenTypes": ["at+jwt", "JWT"], **provider} for provider in providers
        ],
        "subjects": [
            {"id": "sub_" + os.urandom(4).hex(), "issuer": provider["issuer"], "name": subject, "groups": ["staff"]}
            for provider in providers
            if not installation.sql(f"select 1 from subject where issuer = '{provider['issuer']}' and name = '{subject}'")
        ],
    }))
    installation.control("import", file)


def state(installation, issuer):
    """Fetched or not, and the code of the last failure."""
    rows = installation.sql(
        "select fetched_at is not null, coalesce(failure, ''), "
        "(select jsonb_array_length(jwks->'keys') from identity_provider p where p.issuer = f.issuer) "
        f"from identity_provider_fetch f where issuer = '{issuer}'"
    )
    return rows[0] if rows else None


def failure(installation, issuer):
    return wait_for(lambda: (state(installation, issuer) or ["", ""])[1], f"a failure for {issuer}")


def is_accepted(installation, token):
    status, _ = installation.post("lab", {"method": "tools/list"}, token)
    assert status in (200, 401)
    return status == 200


def pass_time(installation, issuer, seconds):
    """As if the last attempt had been that long ago; nobody waits 30 seconds here."""
    installation.sql(
        f"update identity_provider_fetch set attempted_at = attempted_at - interval '{seconds} s' where issuer = '{issuer}'"
    )


def test_a_token_of_a_discovered_provider_is_accepted_end_to_end(world):
    installation, provider, _ = world
    token = provider.token(installation)
    status, body = installation.call("lab", "echo", {"text": "hello"}, token)
    assert status == 200 and not body["result"].get("isError"), body
    assert installation.records("kind = 'intent'")[-1]["subject"].startswith("sub_")
    # Still strict: the provider signs, but with something else.
    assert not is_accepted(installation, provider.token(installation, alg="none"))
    assert not is_accepted(installation, provider.token(installation, alg="HS256"))
    assert not is_accepted(installation, provider.token(installation, sub="stranger"))


def test_a_token_of_a_real_provider_is_accepted_end_to_end(world):
    installation, _, _ = world
    if not lemonldap.is_available(PROVIDER.parent):
        absent("LemonLDAP::NG (scripts/lemonldap)")
    portal = lemonldap.LemonLDAP(installation, PROVIDER.parent)
    configure(
        installation,
        {"issuer": portal.issuer, "discovery": True, "audiences": [lemonldap.CLIENT], "tokenTypes": ["JWT"]},
        subject="dwho",
    )
    wait_for(lambda: (state(installation, portal.issuer) or ["f"])[0] == "t", "the portal's keys")
    pushed(installation)
    tokens = portal.login("dwho")
    status, body = installation.call("lab", "echo", {"text": "hello"}, tokens["access_token"])
    assert status == 200 and not body["result"].get("isError"), body
    # Its ID token has the same type, key and audience, and is no access token.
    assert not is_accepted(installation, tokens["id_token"])
    # Somebody it knows and the directory does not.
    assert not is_accepted(installation, portal.login("msmith")["access_token"])


def test_new_keys_are_picked_up_while_calls_run(world):
    installation, _, _ = world
    provider = discovered(installation)
    old = provider.token(installation)
    assert is_accepted(installation, old)
    provider.control(rotate=1, keep_old=False)
    pass_time(installation, provider.issuer, 31)
    # The first token under the new key waits for it; nobody is sent to log in, unless two seconds were not enough.
    began, first = time.monotonic(), is_accepted(installation, provider.token(installation))
    assert first or time.monotonic() - began >= 2
    wait_for(lambda: is_accepted(installation, provider.token(installation)), "the new key")
    # What the issuer took away counts no more.
    assert not is_accepted(installation, old)


def test_tokens_under_keys_that_do_not_exist_do_not_make_control_ask(world):
    installation, _, _ = world
    provider = discovered(installation)
    assert provider.control()["jwks_hits"] == 1
    pass_time(installation, provider.issuer, 31)
    tokens = [provider.token(installation, kid=f"made-up-{n}") for n in range(60)]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert not any(pool.map(lambda token: is_accepted(installation, token), tokens))
    assert provider.control()["jwks_hits"] == 2
    assert is_accepted(installation, provider.token(installation))


def test_the_last_good_keys_stay_when_the_provider_fails(world):
    installation, provider, _ = world
    assert is_accepted(installation, provider.token(installation))
    provider.control(fail={"/jwks": 500})
    try:
        installation.sql(f"update identity_provider_fetch set due_at = now() where issuer = '{provider.issuer}'")
        assert failure(installation, provider.issuer) == "status_refused"
        assert is_accepted(installation, provider.token(installation))
    finally:
        provider.control(fail={})
    installation.sql(f"update identity_provider_fetch set due_at = now() where issuer = '{provider.issuer}'")
    wait_for(lambda: state(installation, provider.issuer)[1] == "", "the recovery")


def test_keys_that_cannot_be_used_are_left_out(world):
    installation, provider, _ = world
    junk = [{"kty": "AKP", "alg": "ML-DSA-65", "kid": "j"}, {"kty": "oct", "k": "AA", "kid": "s"}, 7]
    provider.control(extra_jwks=junk)
    try:
        fetched = f"select fetched_at from identity_provider_fetch where issuer = '{provider.issuer}'"
        before = installation.sql(fetched)
        installation.sql(f"update identity_provider_fetch set due_at = now() where issuer = '{provider.issuer}'")
        wait_for(lambda: installation.sql(fetched) != before, "another look at the keys")
        assert is_accepted(installation, provider.token(installation))
        stored = installation.sql(f"select jwks::text from identity_provider where issuer = '{provider.issuer}'")[0][0]
        assert "oct" not in stored and "AKP" not in stored
    finally:
        provider.control(extra_jwks=[])


def test_a_provider_behind_a_private_authority_is_reached(world):
    """https on loopback: an address of this network, which the provider is marked to have."""
    installation, provider, place = world
    keys = call(provider.issuer + "/jwks")
    place.answers["/a/.well-known/openid-configuration"] = (
        200, {}, {"issuer": place.origin + "/a", "jwks_uri": place.origin + "/a/keys"}
    )
    # RFC 8414's place, where OpenID Connect's has nothing.
    place.answers["/.well-known/oauth-authorization-server/b"] = (
        200, {}, {"issuer": place.origin + "/b", "jwks_uri": place.origin + "/a/keys"}
    )
    place.answers["/a/keys"] = (200, {"Content-Type": "application/jwk-set+json"}, keys)
    configure(
        installation,
        {"issuer": place.origin + "/a", "discovery": True, "allowPrivateAddresses": True},
        {"issuer": place.origin + "/b", "discovery": True, "allowPrivateAddresses": True},
        {"issuer": "https://named.example", "jwksUrl": place.origin + "/a/keys", "allowPrivateAddresses": True},
    )
    for issuer in (place.origin + "/a", place.origin + "/b", "https://named.example"):
        wait_for(lambda: (state(installation, issuer) or ["f"])[0] == "t", f"the keys of {issuer}")
    pushed(installation)
    token = call(provider.issuer + "/_mint", {
        "claims": {
            "iss": "https://named.example", "sub": "carol", "aud": installation.resource("lab"), "client_id": "agent",
            "jti": "1",
        },
        "opt": {"typ": "at+jwt"},
    })["token"]
    assert is_accepted(installation, token)


def slowly(handler):
    """Begins an answer and never ends it."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.wfile.flush()
    time.sleep(30)


def hostile(origin):
    """Name → (metadata's answer, keys' answer, the code of the refusal); `{}` in texts is the issuer."""
    metadata = lambda **changes: (200, {}, {"issuer": "{}", "jwks_uri": "{}/keys", **changes})
    good = (200, {}, {"keys": []})
    return {
        "speaks-for-another": (metadata(issuer=origin), good, "metadata_issuer_mismatch"),
        "adds-a-slash": (metadata(issuer="{}/"), good, "metadata_issuer_mismatch"),
        "redirects": ((302, {"Location": origin + "/elsewhere"}, b""), good, "redirected"),
        "redirects-inside": ((301, {"Location": "http://169.254.169.254/"}, b""), good, "redirected"),
        "names-metadata-service": (metadata(jwks_uri="https://169.254.169.254/keys"), good, "jwks_uri_elsewhere"),
        "names-another-host": (metadata(jwks_uri="https://keys.example/keys"), good, "jwks_uri_elsewhere"),
        "names-a-file": (metadata(jwks_uri="file:///etc/passwd"), good, "jwks_uri_elsewhere"),
        "downgrades": (metadata(jwks_uri="http://localhost/keys"), good, "jwks_uri_elsewhere"),
        "is-html": ((200, {"Content-Type": "text/html"}, b"<html>"), good, "media_type_refused"),
        "is-not-json": ((200, {}, b"{'issuer': 1}"), good, "metadata_malformed"),
        "says-it-twice": (
            (200, {}, b'{"issuer":"x","issuer":"{}","jwks_uri":"{}/keys"}'), good, "metadata_malformed",
        ),
        "is-long": ((200, {}, b" " * 300_000), good, "too_long"),
        "is-nested": ((200, {}, b"[" * 10_000 + b"]" * 10_000), good, "metadata_malformed"),
        "is-slow": (slowly, good, "timed_out"),
        "has-no-keys": (metadata(), good, "jwks_without_usable_key"),
        "has-only-secrets": (
            metadata(), (200, {}, {"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}), "jwks_without_usable_key",
        ),
        "has-too-many-keys": (metadata(), (200, {}, {"keys": [{}] * 65}), "jwks_too_many_keys"),
        "redirects-its-keys": (metadata(), (307, {"Location": origin + "/elsewhere"}, b""), "redirected"),
        "has-gone": ((404, {}, b""), good, "not_found"),
        "is-broken": ((500, {}, b""), good, "status_refused"),
    }


def test_hostile_providers_are_refused_and_disturb_nobody(world):
    installation, provider, place = world
    cases = hostile(place.origin)

    def fill(value, issuer):
        if isinstance(value, bytes):
            return value.replace(b"{}/", issuer.encode() + b"/").replace(b'"{}"', b'"' + issuer.encode() + b'"')
        if isinstance(value, dict):
            return {key: fill(item, issuer) for key, item in value.items()}
        return value.replace("{}", issuer) if isinstance(value, str) else value

    for name, (metadata, keys, _) in cases.items():
        issuer = f"{place.origin}/{name}"
        for path, answer in (("/.well-known/openid-configuration", metadata), ("/keys", keys)):
            if not callable(answer):
                answer = (answer[0], answer[1], fill(answer[2], issuer))
            place.answers[f"/{name}{path}"] = answer
    place.answers["/elsewhere"] = (200, {}, call(provider.issuer + "/jwks"))
    configure(installation, *(
        {"issuer": f"{place.origin}/{name}", "discovery": True, "allowPrivateAddresses": True} for name in cases
    ))
    found = {name: failure(installation, f"{place.origin}/{name}") for name in cases}
    assert found == {name: code for name, (_, _, code) in cases.items()}
    series = installation.metrics(installation.control_admin)
    for limit in ("issuer_bytes", "issuer_time", "issuer_keys"):
        assert series[f'ostiary_limit_reached_total{{ostiary_limit="{limit}"}}'] >= 1
    # Nothing was followed, nothing was stored, and the honest provider's tokens are as good as before.
    assert "/elsewhere" not in place.hits
    rows = installation.sql(
        f"select count(*) from identity_provider where issuer like '{place.origin}/%' and "
        f"issuer not in ('{place.origin}/a', '{place.origin}/b') and jsonb_array_length(jwks->'keys') > 0"
    )
    assert rows == [["0"]]
    assert is_accepted(installation, provider.token(installation))


def test_places_inside_the_network_are_not_asked_unless_allowed(world):
    installation, _, place = world
    place.answers["/private/keys"] = (200, {}, {"keys": []})
    addresses = {
        "https://unmarked.example": (place.origin + "/private/keys", None),
        "https://metadata.example": ("https://169.254.169.254/latest/meta-data/", "address_refused"),
        "https://private.example": ("https://10.0.0.1/keys", "address_refused"),
        "https://plain.example": ("http://10.0.0.1/keys", "address_refused"),
        "https://mapped.example": ("https://[::ffff:10.0.0.1]/keys", "address_refused"),
    }
    configure(installation, *({"issuer": issuer, "jwksUrl": url} for issuer, (url, _) in addresses.items()))
    for issuer, (_, code) in addresses.items():
        # Loopback is allowed here by the setting that this installation has for tests.
        assert failure(installation, issuer) == (code or "jwks_without_usable_key")
