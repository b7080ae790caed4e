"""Time stamps, approvals and statements, checked by other people's code.

    statements.py TAINTLINE

Makes a store in a temporary folder, has `openssl ts` stamp its head and its seal, has `ssh-keygen` sign an approval, and attests
a run. Then OpenSSL verifies the tokens that the store keeps and the signatures of the statements, OpenSSH the approval, a JSON schema
validator every statement against `docs/schemas`, and some lines of Python what the statements derive from their lists. One bit
of each is changed, and each of them must refuse.

Needs openssl, ssh-keygen and Python with jsonschema. 0: all agreed. 1: something did not; each is named. 2: usage, or a tool is missing.
"""

import base64
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import jsonschema
except ImportError as missing:
    print(f"statements: {missing}; install jsonschema", file=sys.stderr)
    sys.exit(2)

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "docs/schemas"
AUTHORITY = """
[req]
distinguished_name = name
prompt = no
[name]
CN = an authority
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[tsa]
basicConstraints = CA:FALSE
extendedKeyUsage = critical, timeStamping
[here]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class World:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.failures, self.count = binary, folder, [], 0
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "TAINTLINE_STORE": str(folder / "store")}
        self.env |= {name: value for name, value in os.environ.items() if name == "TAINTLINE_SENSOR_DIR"}
        (folder / "home/.ssh").mkdir(parents=True)

    def check(self, what, holds, told=""):
        self.count += 1
        if not holds:
            self.failures.append(what)
            print(f"FAILED {what}\n{told}")

    def runs(self, words, stdin=None):
        source = open(stdin, "rb") if stdin else subprocess.DEVNULL
        done = subprocess.run([str(word) for word in words], capture_output=True, env=self.env, cwd=self.folder, stdin=source, timeout=120)
        return done.returncode == 0

    def taintline(self, *words):
        words = [self.binary, *map(str, words), "--json"]
        done = subprocess.run(words, capture_output=True, env=self.env, cwd=self.folder, timeout=120)
        if done.returncode not in (0, 3):
            print(done.stderr.decode(), file=sys.stderr)
        return json.loads(done.stdout)

    def openssl(self, line):
        return self.runs(["openssl", *line.split()])

    def both(self, what, verify, file):
        """`verify` accepts the file, and no longer when one bit in its middle is another."""
        self.check(f"{what}: accepted", verify(file))
        changed = self.folder / "changed"
        bytes_ = bytearray(file.read_bytes())
        bytes_[len(bytes_) // 2] ^= 1
        changed.write_bytes(bytes_)
        self.check(f"{what}: a changed bit is refused", not verify(changed))


def authority(world):
    (world.folder / "cnf").write_text(AUTHORITY)
    for line in [
        "req -config cnf -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -extensions ca -subj /CN=root",
        "req -config cnf -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr",
        "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 9 -extfile cnf -extensions tsa",
    ]:
        world.check(f"openssl {line.split()[0]}", world.openssl(line))


def answer(world, query, reply):
    line = f"ts -reply -config cnf -section here -queryfile {query} -signer tsa.pem -inkey tsa.key -out {reply}"
    world.check("openssl answers our request", world.openssl(line))


def blob(world, digest):
    return world.folder / "store/blobs" / digest[:2] / digest[2:]


def stamps(world):
    world.taintline("ledger", "stamp", "--request", "q.tsq")
    answer(world, "q.tsq", "r.tsr")
    stamped = world.taintline("ledger", "stamp", "--response", "r.tsr", "--time-roots", "ca.pem")
    world.check("our own reading of the stamp", stamped["stamp"]["standing"] == "holds", stamped)
    log, number = stamped["stamp"]["recorded"]
    entry = world.taintline("ledger", "show", f"{log}:{number}")["entry"]["body"]
    token, head = blob(world, entry["token"]), blob(world, entry["over"])
    world.both("the kept token, over the kept head",
               lambda file: world.openssl(f"ts -verify -token_in -in {file} -data {head} -CAfile ca.pem"), token)
    world.both("the kept head, under the kept token",
               lambda file: world.openssl(f"ts -verify -token_in -in {token} -data {file} -CAfile ca.pem"), head)


def seal(world):
    model = world.folder / "model"
    model.mkdir()
    (model / "weights").write_bytes(bytes(range(256)) * 9000)
    world.taintline("seal", "model", "--time-request", "s.tsq")
    answer(world, "s.tsq", "s.tsr")
    world.taintline("seal", "model", "--time-response", "s.tsr", "--time-roots", "ca.pem")
    bundle = json.loads((model / "model.sig").read_bytes())
    stamp = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"]
    reply, signed = world.folder / "kept.tsr", world.folder / "signature"
    reply.write_bytes(base64.b64decode(stamp))
    signed.write_bytes(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    world.both("the answer in the bundle, over the signature",
               lambda file: world.openssl(f"ts -verify -in {reply} -data {file} -CAfile ca.pem"), signed)
    valid(world, "seal", json.loads((model / "model.seal").read_bytes()))


def valid(world, name, envelope):
    """The statement of an envelope, which must fit its schema, and must not without one of its fields."""
    statement = json.loads(base64.b64decode(envelope["payload"]))
    schema = json.loads((SCHEMAS / f"{name}-v1.schema.json").read_bytes())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    errors = [error.message for error in validator.iter_errors(statement)]
    world.check(f"{name}: fits its schema", not errors, errors)
    for field in schema["properties"]["predicate"]["required"]:
        less = json.loads(json.dumps(statement))
        del less["predicate"][field]
        world.check(f"{name}: without {field} it does not", not validator.is_valid(less))
    return statement


def signed_text(envelope):
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def merkle(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + merkle(leaves[:half]) + merkle(leaves[half:])).digest()


def statements(world):
    world.taintline("attest", "last", "-o", "out")
    key = world.folder / "home/.local/share/taintline/keys/seal.key"
    world.check("the public key", world.openssl(f"pkey -in {key} -pubout -out seal.pub"))
    read = {}
    for name in ["closure", "transcript", "verdict"]:
        envelope = json.loads((world.folder / f"out/{name}.sigstore.json").read_bytes())["dsseEnvelope"]
        read[name] = valid(world, name, envelope)
        text, signature = world.folder / "text", world.folder / "signature"
        text.write_bytes(signed_text(envelope))
        signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        world.both(f"{name}: its signature",
                   lambda file: world.openssl(f"dgst -sha256 -verify seal.pub -signature signature {file}"), text)
    closure, transcript = read["closure"], read["transcript"]
    listed = json.dumps(closure["predicate"]["loads"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    world.check("the digest of what was loaded",
                closure["subject"][0]["digest"]["sha256"] == hashlib.sha256(listed.encode()).hexdigest())
    leaves = [bytes.fromhex(segment["sha256"]) for segment in transcript["predicate"]["segments"]]
    world.check("the root over the steps", transcript["subject"][0]["digest"]["sha256"] == merkle(leaves).hex())
    world.check("both name the same run", read["verdict"]["subject"] == closure["subject"])


def approval(world):
    world.runs(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", "home/.ssh/id_ed25519"])
    public = (world.folder / "home/.ssh/id_ed25519.pub").read_text()
    (world.folder / "allowed").write_text(f'ada@x namespaces="taintline-approval" {public}')
    for what in ["last", "./model", "ab" * 32]:
        made = world.taintline("approve", what, "--note", "größe ✓")
        log, number = made["approvals"][0]["recorded"]
        entry = world.taintline("ledger", "show", f"{log}:{number}")["entry"]["body"]
        envelope = json.loads(blob(world, entry["envelope"]).read_bytes())
        valid(world, "approval", envelope)
        text, signature = world.folder / "text", world.folder / "text.sig"
        text.write_bytes(signed_text(envelope))
        signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        verify = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "ada@x", "-s", signature, "-n"]
        world.both(f"approval of {what[:8]}", lambda file: world.runs([*verify, "taintline-approval"], stdin=file), text)
        world.check("not for git", not world.runs([*verify, "git"], stdin=text))


def main():
    if len(sys.argv) != 2 or not all(map(shutil.which, ["openssl", "ssh-keygen"])):
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        world = World(os.path.abspath(sys.argv[1]), pathlib.Path(folder))
        world.check("a run", world.runs([world.binary, "run", "--", "/bin/true"]))
        for part in [authority, stamps, seal, statements, approval]:
            part(world)
        print(f"{world.count} checks, {len(world.failures)} failed")
        return 1 if world.failures else 0


if __name__ == "__main__":
    sys.exit(main())
