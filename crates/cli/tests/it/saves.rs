//! A checkpoint is recorded as the file that it became, whatever its temporary name holds by the time that it is looked at.

use super::world::World;

/// Speaks as a sensor does: files are moved first and told of afterwards, as late as a busy machine may make it.
const JOB: &str = r#"
import json, os, socket, struct, time
stream = socket.socket(socket.AF_UNIX)
stream.connect(os.environ["TAINTLINE_SOCKET"])
said = 0
def say(**body):
    global said
    frame = json.dumps({"seq": said, "at_us": 1, "body": body}).encode()
    stream.sendall(struct.pack("<I", len(frame)) + frame)
    said += 1
def at(name):
    return os.path.join(os.getcwd(), name)
def save(text, goes_to=None):
    with open("saving", "w") as file:
        file.write(text)
    if goes_to:
        os.rename("saving", goes_to)
say(type="hello", protocol=1, python="cpython 3", executable="/x", prefix="/x", base_prefix="/x", argv=[],
    cwd=os.getcwd(), sys_path=[], roots=[], rank=None, local_rank=None, world_size=None, chained=None)
save("first", "1.pt")
say(type="saved", path=at("saving"), step=1, way="torch")
time.sleep(1)
say(type="renamed", **{"from": at("saving"), "to": at("1.pt")})
save("second", "2.pt")
save("third")
say(type="saved", path=at("saving"), step=2, way="torch")
time.sleep(1)
say(type="renamed", **{"from": at("saving"), "to": at("2.pt")})
os.rename("saving", "3.pt")
say(type="saved", path=at("saving"), step=3, way="torch")
say(type="renamed", **{"from": at("saving"), "to": at("4.pt")})
os.rename("3.pt", "5.pt")
say(type="renamed", **{"from": at("4.pt"), "to": at("5.pt")})
say(type="bye", dropped=0, exception=None)
"#;

#[test]
fn a_checkpoint_that_was_renamed_before_it_was_looked_at_is_read_where_it_went() {
    let world = World::new();
    world
        .taintline(["run", "--", "python3", "-I", "-c", JOB])
        .ends(0);
    let shown = world.json(&["show", "last"]);
    let writes = shown["writes"].as_array().unwrap();
    let digest = |name: &str| {
        let ends = |it: &&serde_json::Value| it["path"].as_str().unwrap().ends_with(name);
        writes.iter().rev().find(ends).map(|it| &it["digest"])
    };
    for (name, text) in [("/1.pt", "first"), ("/2.pt", "second"), ("/5.pt", "third")] {
        let expected = domain::Digest::of(text.as_bytes()).to_string();
        assert_eq!(digest(name).unwrap(), &expected, "{name} of {writes:?}");
    }
    let gaps = shown["gaps"].to_string();
    assert!(!gaps.contains("gone before"), "{gaps}");
}
