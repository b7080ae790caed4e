"""OpenSSF Model Signing, both ways: what Taintline signs the reference tool verifies, and the other way round.

    model_signing_both_ways.py TAINTLINE

Runs under a Python that has model-signing and pyOpenSSL. Everything is made in a temporary folder: keys, certificates, a
model with awkward names. Then a matrix of changes is played on folder, signatures and certificates: each must be told from
the clean state, and the clean state must be VALID each time. Nothing of a model is imported or run.

0: all agreed. 1: something did not; each is named. 2: usage, or the reference tool is missing.
"""

import base64
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    from model_signing import hashing, signing, verifying
except ImportError as missing:
    print(f"model_signing_both_ways: {missing}; install model-signing and pyOpenSSL", file=sys.stderr)
    sys.exit(2)

VALID, INVALID, CANNOT = 0, 1, 3
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class World:
    """A temporary folder with keys, certificates and a model."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.failures, self.count = binary, folder, [], 0
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "TAINTLINE_STORE": str(folder / "store")}
        (folder / "home").mkdir()

    def check(self, what, holds, told=""):
        self.count += 1
        if not holds:
            self.failures.append(what)
            print(f"FAILED {what}\n{told}")

    def taintline(self, *words):
        command = [self.binary, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.env, cwd=self.folder, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def expect(self, what, code, words, *told):
        got, said = self.taintline(*words)
        holds = got == code and all(word in said for word in told)
        self.check(what, holds, f"  exit {got} instead of {code}, or one of {told} missing:\n{said}")

    def key(self, name, curve):
        key = ec.generate_private_key(curve)
        private, public = self.folder / f"{name}.key", self.folder / f"{name}.pub"
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        private.touch(mode=0o600)
        private.write_bytes(text)
        pem, info = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        public.write_bytes(key.public_key().public_bytes(pem, info))
        return key

    def certificate(self, name, key, issuer, signer, ca=False, start=-DAY, end=30 * DAY, usage=True, purpose=True):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + start)
            .not_valid_after(NOW + end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if usage is not None:
            bits = dict.fromkeys(
                ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
                 "encipher_only", "decipher_only"], False)
            made = made.add_extension(
                x509.KeyUsage(digital_signature=usage and not ca, key_cert_sign=ca, **bits), critical=True)
        if not ca and purpose is not None:
            oid = ExtendedKeyUsageOID.CODE_SIGNING if purpose else ExtendedKeyUsageOID.SERVER_AUTH
            made = made.add_extension(x509.ExtendedKeyUsage([oid]), critical=False)
        made = made.sign(signer, hashes.SHA384())
        (self.folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return made


def make_model(folder):
    for path, text in {
        "config.json": b"{}",
        "a/x": b"1",
        "a-b/x": b"2",
        "a.txt": b"3",
        "sub/.git/HEAD": b"signed, for it is not at the top",
        ".git/HEAD": b"not signed",
        "empty": b"",
        "names/with space:and:colon": b"4",
        "names/größe-日本.bin": b"5",
        "weights.bin": bytes(range(256)) * 12_000,
    }.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)
    return folder


def reference_verifies(model, signature, **trust):
    config = verifying.Config()
    if "key" in trust:
        config.use_elliptic_key_verifier(public_key=trust["key"])
    else:
        config.use_certificate_verifier(certificate_chain=[trust["root"]])
    try:
        config.verify(pathlib.Path(model), pathlib.Path(signature))
    except Exception as refused:  # the tool raises many kinds
        return f"the reference tool refuses: {refused!r}"[:2000]
    return ""


def reference_signs(model, signature, key, hashing_config=None, chain=None, leaf=None):
    config = signing.Config()
    if leaf:
        config.use_certificate_signer(private_key=key, signing_certificate=leaf, certificate_chain=chain)
    else:
        config.use_elliptic_key_signer(private_key=key)
    ignored = hashing_config or hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=True)
    config.set_hashing_config(ignored)
    config.sign(pathlib.Path(model), pathlib.Path(signature))


def both_ways_with_keys(world):
    for name, curve in [("p256", ec.SECP256R1()), ("p384", ec.SECP384R1()), ("p521", ec.SECP521R1())]:
        world.key(name, curve)
        key, public = world.folder / f"{name}.key", world.folder / f"{name}.pub"
        model = make_model(world.folder / f"ours-{name}")
        world.expect(f"{name}: sealed", 0, ["seal", model, "--key", key])
        refused = reference_verifies(model, model / "model.sig", key=public)
        world.check(f"{name}: the reference verifies a folder of ours", not refused, refused)
        world.expect(f"{name}: we verify it", VALID, ["verify", model, "--key", public], "VALID")
        theirs = make_model(world.folder / f"theirs-{name}")
        for place in [theirs / "model.sig", world.folder / f"outside-{name}.sig"]:
            reference_signs(theirs, place, key)
            words = ["verify", theirs, "--key", public, "--signature", place]
            world.expect(f"{name}: we verify theirs at {place.name}", VALID, words)
            (theirs / "model.sig").unlink(missing_ok=True)
        one = world.folder / f"{name}.bin"
        one.write_bytes(b"one file" * 300_000)
        world.expect(f"{name}: one file sealed", 0, ["seal", one, "--key", key])
        refused = reference_verifies(one, f"{one}.sig", key=public)
        world.check(f"{name}: the reference verifies one file of ours", not refused, refused)
        world.expect(f"{name}: we verify it", VALID, ["verify", one, "--key", public])
        place = world.folder / f"their-{name}.sig"
        reference_signs(one, place, key)
        words = ["verify", one, "--key", public, "--signature", place]
        world.expect(f"{name}: we verify theirs of one file", VALID, words)
        words = ["verify", one, "--key", public, "--signature", model / "model.sig"]
        world.expect(f"{name}: a folder's signature for one file", INVALID, words, "missing")
        words = ["verify", theirs, "--key", public, "--signature", place]
        world.expect(f"{name}: one file's signature for a folder", INVALID, words, "a file was signed, a folder is there")
        (world.folder / f"empty-{name}").mkdir()
        words[1] = world.folder / f"empty-{name}"
        world.expect(f"{name}: one file's signature for an empty folder", INVALID, words)
        words[1] = one
        one.write_bytes(b"one fila" * 300_000)
        world.expect(f"{name}: a changed file", INVALID, words, "content")


def other_methods(world):
    """BLAKE3, shards, links: what the tool's library can sign although its command cannot verify it."""
    key, public = world.folder / "p256.key", world.folder / "p256.pub"
    kinds = {
        "blake3": hashing.Config().use_file_serialization(hashing_algorithm="blake3"),
        "shards": hashing.Config().use_shard_serialization(hashing_algorithm="sha256", shard_size=1_000_000),
        "links": hashing.Config().use_file_serialization(
            hashing_algorithm="sha256", allow_symlinks=True).set_allow_symlinks(True),
    }
    for name, config in kinds.items():
        model = world.folder / f"kind-{name}"
        model.mkdir()
        (model / "weights.bin").write_bytes(bytes(range(256)) * 12_000)
        (model / "config.json").write_bytes(b"{}")
        if name == "links":
            (model / "link").symlink_to("weights.bin")
        place = world.folder / f"{name}.sig"
        reference_signs(model, place, key, hashing_config=config)
        words = ["verify", model, "--key", public, "--signature", place]
        world.expect(f"{name}: we verify theirs", VALID, words)
        with open(model / "weights.bin", "r+b") as file:
            file.seek(2_500_000)
            file.write(b"\xff\x00")
        world.expect(f"{name}: a changed byte", INVALID, words, "weights.bin")
    model = make_model(world.folder / "with-git")
    everything = hashing.Config().set_ignored_paths(paths=[model / "model.sig"], ignore_git_paths=False)
    reference_signs(model, model / "model.sig", key, hashing_config=everything)
    world.expect("a signed .git", VALID, ["verify", model, "--key", public])
    (model / ".git/HEAD").write_bytes(b"changed")
    world.expect("a signed .git that changed", INVALID, ["verify", model, "--key", public], ".git/HEAD")
    model = world.folder / "kind-links"
    place = world.folder / "blake2.sig"
    blake2 = hashing.Config().use_file_serialization(hashing_algorithm="blake2", allow_symlinks=True)
    reference_signs(model, place, key, hashing_config=blake2.set_allow_symlinks(True))
    world.expect("BLAKE2b cannot be checked", CANNOT, ["verify", model, "--key", public, "--signature", place])


def certificates(world):
    root_key, middle_key = world.key("root", ec.SECP384R1()), world.key("middle", ec.SECP521R1())
    other_key = world.key("other", ec.SECP256R1())
    root = world.certificate("root", root_key, None, root_key, ca=True, start=-400 * DAY)
    world.certificate("other", other_key, None, other_key, ca=True)
    middle = world.certificate("middle", middle_key, root, root_key, ca=True, start=-400 * DAY)
    cases = {
        "good": {},
        "usage-alone": {"purpose": None},
        "purpose-alone": {"usage": None},
        "expired": {"start": -20 * DAY, "end": -10 * DAY},
        "not-yet": {"start": 10 * DAY, "end": 20 * DAY},
        "web-server": {"purpose": False},
        "no-signing": {"usage": False, "purpose": None},
        "says-nothing": {"usage": None, "purpose": None},
    }
    good = {"good", "usage-alone", "purpose-alone"}
    told = {"expired": "expired", "not-yet": "not valid before", "web-server": "not meant for signing",
            "no-signing": "not meant for signing", "says-nothing": "not meant for signing"}
    for name, change in cases.items():
        key = world.key(name, ec.SECP256R1())
        world.certificate(name, key, middle, middle_key, **change)
        model = make_model(world.folder / f"certified-{name}")
        private, leaf, above = (world.folder / it for it in (f"{name}.key", f"{name}.crt", "middle.crt"))
        words = ["seal", model, "--key", private, "--certificate", leaf, "--certificate", above]
        world.expect(f"{name}: sealed", 0, words)
        trusted = ["verify", model, "--certificate-root", world.folder / "root.crt"]
        if name in good:
            world.expect(f"{name}: we verify it", VALID, trusted, "certificate")
            refused = reference_verifies(model, model / "model.sig", root=world.folder / "root.crt")
            world.check(f"{name}: the reference verifies it", not refused, refused)
            stranger = ["verify", model, "--certificate-root", world.folder / "other.crt"]
            world.expect(f"{name}: another root", INVALID, stranger, "does not lead to a root")
            world.expect(f"{name}: no root", CANNOT, ["verify", model], "--certificate-root")
        else:
            world.expect(f"{name}: refused", INVALID, trusted, told[name])
        theirs = make_model(world.folder / f"their-{name}")
        reference_signs(theirs, theirs / "model.sig", private, leaf=leaf, chain=[above])
        trusted[1] = theirs
        world.expect(f"{name}: theirs", VALID if name in good else INVALID, trusted, *([told[name]] if name in told else []))
    at = (NOW - 15 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    expired = world.folder / "certified-expired"
    words = ["verify", expired, "--certificate-root", world.folder / "root.crt"]
    world.expect("expired: valid then", VALID, [*words, "--at", at], "certificate")
    world.expect("expired: not valid now", INVALID, words, "expired")
    # The same key and name from a certificate above that came later: it vouches for nothing before.
    world.certificate("middle", middle_key, root, root_key, ca=True)
    above = ["--certificate", world.folder / "expired.crt", "--certificate", world.folder / "middle.crt"]
    world.expect("expired: sealed below a younger one", 0, ["seal", expired, "--key", world.folder / "expired.key", *above])
    world.expect("the chain above was not valid then", INVALID, [*words, "--at", at], "not valid before")


def stamped(world):
    """A time stamp beside the signature: the reference tool still accepts the bundle, and we judge the certificate by it."""
    def openssl(line):
        done = subprocess.run(["openssl", *line.split()], cwd=world.folder, capture_output=True, env=world.env, timeout=60)
        world.check(f"openssl {line.split()[0]}", done.returncode == 0, done.stderr.decode())

    (world.folder / "tsa.cnf").write_text(
        "[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n"
        "[tsa]\nbasicConstraints = CA:FALSE\nextendedKeyUsage = critical, timeStamping\n"
        "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = tsa\n"
        "[here]\nserial = serial\ncrypto_device = builtin\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\n"
        "digests = sha256\ness_cert_id_chain = no\ness_cert_id_alg = sha256\n")
    openssl("req -config tsa.cnf -x509 -newkey rsa:2048 -nodes -keyout tsa-ca.key -out tsa-ca.pem -days 9 -extensions ca -subj /CN=tsa-root")
    openssl("req -config tsa.cnf -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr")
    openssl("x509 -req -in tsa.csr -CA tsa-ca.pem -CAkey tsa-ca.key -CAcreateserial -out tsa.pem -days 9 -extfile tsa.cnf -extensions tsa")
    model = make_model(world.folder / "stamped")
    private, leaf, above = (world.folder / it for it in ("good.key", "good.crt", "middle.crt"))
    seal = ["seal", model, "--key", private, "--certificate", leaf, "--certificate", above]
    world.expect("stamped: sealed", 0, [*seal, "--time-request", "s.tsq"])
    openssl("ts -reply -config tsa.cnf -section here -queryfile s.tsq -signer tsa.pem -inkey tsa.key -out s.tsr")
    roots = ["--time-roots", world.folder / "tsa-ca.pem"]
    world.expect("stamped: taken", 0, ["seal", model, "--time-response", "s.tsr", *roots], "STAMPED")
    refused = reference_verifies(model, model / "model.sig", root=world.folder / "root.crt")
    world.check("stamped: the reference verifies it", not refused, refused)
    words = ["verify", model, "--certificate-root", world.folder / "root.crt"]
    world.expect("stamped: we verify it as of the stamp", VALID, [*words, *roots], "(stamped)")
    world.expect("stamped: without roots as of now", VALID, words, "NOT CHECKED", "(now)")
    stamp = json.loads((model / "model.sig").read_bytes())["verificationMaterial"]["timestampVerificationData"]
    (model / "a.txt").write_bytes(b"other")
    world.expect("stamped: sealed anew", 0, seal)
    bundle = json.loads((model / "model.sig").read_bytes())
    bundle["verificationMaterial"]["timestampVerificationData"] = stamp
    (model / "model.sig").write_text(json.dumps(bundle))
    world.expect("stamped: an older stamp", INVALID, [*words, *roots], "over other bytes")


def rewritten(path, change):
    """A signature file with its statement changed, the signature left as it is."""
    bundle = json.loads(path.read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(change(payload)).decode()
    path.write_text(json.dumps(bundle))


def truncate(name, by):
    return lambda model: os.truncate(model / name, (model / name).stat().st_size - by)


def of_the_folder(world):
    """What is done to a folder; the verdict, and the words that must be told."""

    def flip(model):
        with open(model / "weights.bin", "r+b") as file:
            file.seek(2_097_153)
            file.write(b"\xff")

    def swap(model):
        (model / "a.txt").unlink()
        (model / "a.txt").symlink_to(world.folder / "secret")

    def swap_folder(model):
        shutil.copytree(model / "a", world.folder / "elsewhere", dirs_exist_ok=True)
        shutil.rmtree(model / "a")
        (model / "a").symlink_to(world.folder / "elsewhere")

    def retarget(model):
        (model / "link").unlink()
        (model / "link").symlink_to("a.txt")

    def same_bytes_elsewhere(model):
        (model / "link").unlink()
        shutil.copy(model / "config.json", world.folder / "config.copy")
        (model / "link").symlink_to(world.folder / "config.copy")

    def pipe(model):
        (model / "a.txt").unlink()
        os.mkfifo(model / "a.txt")

    return {
        "a flipped bit": (flip, INVALID, "weights.bin, bytes 2,097,152-3,072,000"),
        "a truncated file": (truncate("weights.bin", 1), INVALID, "weights.bin"),
        "a dropped file": (lambda m: (m / "a/x").unlink(), INVALID, "missing      a/x"),
        "an added file": (lambda m: (m / "new").write_bytes(b""), INVALID, "extra        new"),
        "an added empty file below": (lambda m: (m / "a/.hidden").write_bytes(b""), INVALID, "a/.hidden"),
        "an added folder": (lambda m: (m / "new").mkdir(), INVALID, "extra        new"),
        "a dropped folder": (lambda m: (m / "folder").rmdir(), INVALID, "missing      folder"),
        "a renamed file": (lambda m: (m / "a.txt").rename(m / "b.txt"), INVALID, "b.txt"),
        "two names exchanged": (
            lambda m: ((m / "a.txt").rename(m / "t"), (m / "config.json").rename(m / "a.txt"), (m / "t").rename(m / "config.json")),
            INVALID, "config.json"),
        "a changed mode": (lambda m: (m / "a.txt").chmod(0o777), INVALID, "0777 is there"),
        "setuid": (lambda m: (m / "a.txt").chmod(0o4644), INVALID, "4644 is there"),
        "a folder's mode": (lambda m: (m / "a").chmod(0o777), INVALID, "mode         a:"),
        "a link for a file": (swap, INVALID, "a file was signed, a link is there"),
        "a link for a folder": (swap_folder, INVALID, "a folder was signed, a link is there"),
        "a link elsewhere": (retarget, INVALID, "target"),
        "a link to the same bytes elsewhere": (same_bytes_elsewhere, INVALID, "target"),
        "a pipe": (pipe, INVALID, "a named pipe"),
        "a changed excluded file": (lambda m: (m / ".git/HEAD").write_bytes(b"other"), VALID, "not covered"),
    }


def of_the_signatures(world):
    """The same of the two files that are signed."""

    def double_key(model):
        text = (model / "model.sig").read_text()
        (model / "model.sig").write_text(text.replace('"mediaType"', '"mediaType":"x","mediaType"', 1))

    def second_signature(model):
        bundle = json.loads((model / "model.sig").read_bytes())
        bundle["dsseEnvelope"]["signatures"] *= 2
        (model / "model.sig").write_text(json.dumps(bundle))

    def other_seal(model):
        shutil.copy(world.folder / "ours-p256" / "model.seal", model / "model.seal")

    return {
        "a cut signature": (truncate("model.sig", 1), INVALID, "no signature"),
        "a cut seal": (truncate("model.seal", 1), INVALID, "the seal"),
        "no signature": (lambda m: (m / "model.sig").unlink(), CANNOT, "there is no file"),
        "no seal": (lambda m: (m / "model.seal").unlink(), CANNOT, "the seal that the model signature names"),
        "another model's seal": (other_seal, INVALID, "another model signature"),
        "a key twice": (double_key, INVALID, "same key twice"),
        "a second signature": (second_signature, INVALID, "2 signatures"),
        "a changed statement": (
            lambda m: rewritten(m / "model.sig", lambda p: p.replace(b"a.txt", b"b.txt")), INVALID, "was changed"),
        "deep nesting": (lambda m: (m / "model.sig").write_text("[" * 1_000_000), INVALID, "no signature"),
    }


def changes(world):
    """One change at a time on a copy; the verdict and the name that must be told."""
    key, public = world.folder / "p256.key", world.folder / "p256.pub"
    clean = make_model(world.folder / "clean")
    (clean / "folder").mkdir()
    (clean / "link").symlink_to("config.json")
    world.expect("clean: sealed", 0, ["seal", clean, "--key", key, "--links"])
    (world.folder / "secret").write_bytes(b"3")
    played = of_the_folder(world) | of_the_signatures(world)
    for name, (play, code, told) in played.items():
        model = world.folder / "played"
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(clean, model, symlinks=True)
        world.expect(f"{name}: clean before", VALID, ["verify", model, "--key", public])
        play(model)
        world.expect(name, code, ["verify", model, "--key", public], told)
    world.expect("another key", INVALID, ["verify", clean, "--key", world.folder / "p384.pub"], "none of those")
    world.expect("nobody named", CANNOT, ["verify", clean], "not yours")
    shutil.copy(public, clean / "signer.pub")
    world.expect("a key from inside", 2, ["verify", clean, "--key", clean / "signer.pub"], "never read from the folder")
    (clean / "signer.pub").unlink()
    (world.folder / "p256.key").chmod(0o644)
    world.expect("an exposed key", 2, ["seal", clean, "--key", key], "mode is 644")


def signed_but_hostile(world):
    """Statements with good signatures that no honest signer makes."""
    key = world.key("hostile", ec.SECP256R1())
    public = world.folder / "hostile.pub"
    model = make_model(world.folder / "hostile")
    (world.folder / "outside").write_bytes(b"x")
    world.expect("hostile: sealed", 0, ["seal", model, "--key", world.folder / "hostile.key"])
    honest = (model / "model.sig").read_bytes()
    (model / "model.seal").unlink()

    def signed(change):
        bundle = json.loads(honest)
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        statement["subject"][0]["digest"].pop("taintline-tree-v1")
        statement = change(statement) or statement
        import hashlib
        root = hashlib.sha256(b"".join(bytes.fromhex(it["digest"]) for it in statement["predicate"]["resources"]))
        statement["subject"][0]["digest"]["sha256"] = root.hexdigest()
        payload = json.dumps(statement).encode()
        kind = bundle["dsseEnvelope"]["payloadType"]
        text = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
        made = key.sign(text, ec.ECDSA(hashes.SHA256()))
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(made).decode()
        (model / "model.sig").write_text(json.dumps(bundle))

    words = ["verify", model, "--key", public]
    signed(lambda it: None)
    world.expect("hostile: nothing changed", VALID, words)
    resource = {"name": "../outside", "algorithm": "sha256", "digest": "00" * 32}

    def add(**change):
        return lambda it: it["predicate"]["resources"].append(resource | change)

    def ignore(entry):
        return lambda it: it["predicate"]["serialization"].update(ignore_paths=[entry])

    first = json.loads(base64.b64decode(json.loads(honest)["dsseEnvelope"]["payload"]))["predicate"]["resources"][0]
    for name, change, told in [
        ("leaving the folder", add(), "`..`"),
        ("an absolute name", add(name="/etc/passwd"), "absolute"),
        ("an empty part", add(name="a//x"), "empty"),
        ("the folder itself", add(name="."), "`.` or `..` as a part"),
        ("the same name twice", lambda it: it["predicate"]["resources"].append(first), "twice"),
        ("a name with NUL", add(name="a\0b"), "no file name"),
        ("another algorithm", add(name="x", algorithm="blake3"), "not one of its kind"),
        ("a short digest", add(name="x", digest="00"), "not one of its kind"),
        ("everything left out", ignore("."), "everything"),
        ("everything left out, as nothing", ignore(""), "everything"),
        ("two subjects", lambda it: it["subject"].append(it["subject"][0]), "2 subjects"),
        ("another predicate", lambda it: it.update(predicateType="https://x/v1"), "predicate"),
        ("no files", lambda it: it["predicate"].update(resources=[]), "no file"),
    ]:
        signed(change)
        world.expect(f"hostile: {name}", INVALID, words, told)


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        world = World(os.path.abspath(sys.argv[1]), pathlib.Path(folder))
        for part in [both_ways_with_keys, other_methods, certificates, stamped, signed_but_hostile, changes]:
            part(world)
        print(f"{world.count} checks, {len(world.failures)} failed")
        return 1 if world.failures else 0


if __name__ == "__main__":
    sys.exit(main())
