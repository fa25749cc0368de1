"""LemonLDAP::NG as an identity provider: real software with a login of its own, unpacked by scripts/lemonldap."""
import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

from installation import ROOT, free_port, wait_for

SOFTWARE = ROOT / ".lemonldap/root"
CLIENT, SECRET, CALLBACK = "gw", "gwsecret-0123456789abcdef", "http://127.0.0.1:9/cb"


def is_available(fixtures):
    return (SOFTWARE / ".unpacked").exists() and (fixtures / "llng/mkconf.py").exists()


class LemonLDAP:
    """One portal on a free port, with the demonstration users (dwho, rtyler, msmith; the password is the name)."""

    def __init__(self, installation, fixtures):
        self.folder = installation.folder / "lemonldap"
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        for name in ("conf", "cache", "sessions/lock", "psessions/lock"):
            (self.folder / name).mkdir(parents=True)
        self.configure(fixtures)
        version = subprocess.check_output(["perl", "-e", "print $^V =~ /v(5\\.\\d+)/"], text=True)
        library = SOFTWARE / "usr/lib/x86_64-linux-gnu"
        library = next(iter((SOFTWARE / "usr/lib").glob("*-linux-gnu")), library)
        installation.spawn(
            "lemonldap", "perl", SOFTWARE / "usr/bin/plackup", "-E", "deployment", "-s", "HTTP::Server::PSGI",
            "--host", "127.0.0.1", "--port", self.port, fixtures / "llng/llng.psgi",
            PERL5LIB=":".join(map(str, [
                SOFTWARE / "usr/share/perl5", library / "perl5" / version, SOFTWARE / "usr/share/perl" / version,
            ])),
            LD_LIBRARY_PATH=str(library), LLNG_DEFAULTCONFFILE=str(self.folder / "lemonldap-ng.ini"),
        )
        wait_for(lambda: self.get("/.well-known/openid-configuration")[0] == 200, "LemonLDAP::NG")

    def configure(self, fixtures):
        run = lambda *command: subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=120)
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "idp.key", "-out", "idp.crt",
            "-days", "1", "-subj", "/CN=idp")
        (self.folder / "idp.pub").write_bytes(run("openssl", "rsa", "-in", "idp.key", "-pubout").stdout)
        shutil.copy(self.folder / "idp.crt", self.folder / "sp.crt")
        base = SOFTWARE / "var/lib/lemonldap-ng/conf/lmConf-1.json"
        made = self.folder / "conf/lmConf-1.json"
        subprocess.run(
            [sys.executable, fixtures / "llng/mkconf.py", made], cwd=self.folder, check=True, timeout=120,
            env={**os.environ, "LLNG_BASE": str(base)},
        )
        text = made.read_text().replace("127.0.0.1:19000", f"127.0.0.1:{self.port}")
        settings = json.loads(text.replace("/var/lib/lemonldap-ng", str(self.folder)))
        settings["issuerDBSAMLActivation"] = 0
        made.write_text(json.dumps(settings))
        (self.folder / "lemonldap-ng.ini").write_text(
            f"[all]\nlogLevel = warn\ncheckTime = 1\n[configuration]\ntype = File\ndirName = {self.folder}/conf\n"
            "localStorage = Cache::FileCache\nlocalStorageOptions = { 'namespace' => 'lemonldap-ng-config', "
            f"'default_expires_in' => 600, 'directory_umask' => '007', 'cache_root' => '{self.folder}/cache', "
            "'cache_depth' => 3 }\n"
            f"[portal]\nstaticPrefix = /static\ntemplateDir = {SOFTWARE}/usr/share/lemonldap-ng/portal/templates\n"
            "languages = en\n[handler]\nstatus = 0\nuseRedirectOnError = 1\n"
        )

    def get(self, path, form=None, **fields):
        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None

        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self.issuer + path, data, fields)
        try:
            with urllib.request.build_opener(Stay).open(request, timeout=60) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def login(self, user):
        """An access token as a browser would get it: the login form, the code, PKCE, the token endpoint."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = "/oauth2/authorize?" + urllib.parse.urlencode({
            "response_type": "code", "client_id": CLIENT, "redirect_uri": CALLBACK, "scope": "openid profile groups",
            "state": "s", "nonce": "n", "code_challenge": challenge, "code_challenge_method": "S256",
        })
        page = self.get(query)[2]
        form = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
        status, headers, _ = self.get(query, {**form, "user": user, "password": user}, Accept="text/html")
        assert status == 302, status
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["Location"]).query)["code"][0]
        credential = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        status, _, body = self.get(
            "/oauth2/token",
            {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": verifier},
            Authorization=f"Basic {credential}",
        )
        assert status == 200, body
        return json.loads(body)
