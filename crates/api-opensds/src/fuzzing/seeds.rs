//! The inputs that fuzzing begins with: what OpenSDS' clients and ours send, and the near misses of it. See `fuzz/README.md`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p api-opensds --lib seeds` rewrites them.

use ground::corpus::{Seeds, keep};

const ID: &str = "7f3a7f3a-7f3a-4f3a-8f3a-7f3a7f3a7f3a";

fn after(which: u8, text: &str) -> Vec<u8> {
    [&[which], text.replace("ID", ID).as_bytes()].concat()
}

fn bodies() -> Seeds {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(126), "]".repeat(126));
    vec![
        ("volume", after(0, r#"{"name":"v","size":1,"AttachStatus":""}"#)),
        (
            "volume-of-all",
            after(
                0,
                r#"{"name":"a b-c_d","size":8589934591,"description":"ü","availabilityZone":"default","profileId":"ID","poolId":"ID","snapshotId":"ID","multiAttach":true,"metadata":{"k":"v"},"groupId":"","snapshotFromCloud":false}"#,
            ),
        ),
        ("volume-with-id", after(0, r#"{"id":"ID","name":"v","size":1}"#)),
        ("volume-twice-a-key", after(0, r#"{"name":"v","size":1,"name":"w"}"#)),
        ("volume-too-large", after(0, r#"{"name":"v","size":8589934592}"#)),
        ("volume-of-a-fraction", after(0, r#"{"name":"v","size":1.0}"#)),
        ("volume-of-an-exponent", after(0, r#"{"name":"v","size":1e3}"#)),
        ("volume-nul", after(0, r#"{"name":"v\u0000","size":1}"#)),
        ("volume-half-a-surrogate", after(0, r#"{"name":"\ud800","size":1}"#)),
        ("snapshot", after(1, r#"{"volumeId":"ID","name":"s","description":null,"metadata":{"\u0000":"\u202e"}}"#)),
        ("snapshot-simple-id", after(1, r#"{"volumeId":"7f3a7f3a7f3a4f3a8f3a7f3a7f3a7f3a"}"#)),
        ("attachment", after(2, r#"{"volumeId":"ID","hostId":"ID","attachMode":"ro","connectionInfo":{},"accessProtocol":"nbd"}"#)),
        ("relabel", after(3, r#"{"name":"w","description":"d","mountpoint":"/mnt","metadata":{},"status":"error","size":9}"#)),
        ("resize", after(4, r#"{"newSize":2}"#)),
        ("resize-below", after(4, r#"{"newSize":-2}"#)),
        ("resize-beyond", after(4, r#"{"newSize":18446744073709551616}"#)),
        (
            "host",
            after(
                5,
                r#"{"hostName":"db-1.example","ip":"192.0.2.7","accessMode":"agent","osType":"linux","port":22,"initiators":null}"#,
            ),
        ),
        (
            "host-change",
            after(
                6,
                r#"{"availabilityZones":["default"],"initiators":[{"portName":"iqn.2017-08.org.example:x","protocol":"iscsi"}]}"#,
            ),
        ),
        ("host-change-port", after(6, r#"{"port":65536,"hostName":"a..b"}"#)),
        (
            "profile",
            after(
                7,
                r#"{"name":"fast","storageType":"block","provisioningProperties":{"dataStorage":{}},"customProperties":{"a":"b"}}"#,
            ),
        ),
        ("profile-change", after(8, r#"{"description":"d","replicationProperties":{"rpo":1e-7}}"#)),
        ("custom", after(9, r#"{"iops":1000,"x":[null,true,-0.0,1e300]}"#)),
        ("custom-float", after(9, r#"{"a":122.416294033786585,"b":1e23,"c":2.2250738585072011e-308}"#)),
        ("custom-large", after(9, r#"{"a":18446744073709551615,"b":-9223372036854775809,"c":1e400}"#)),
        ("custom-deep", after(9, &deep)),
        ("custom-no-key", after(9, r#"{"":1}"#)),
        ("a-list", after(0, "[]")),
        ("cut", after(0, r#"{"name":"v","si"#)),
        ("not-utf-8", [b"\x00{\"name\":\"".as_slice(), &[0xff, 0xfe], b"\",\"size\":1}"].concat()),
    ]
}

fn queries() -> Seeds {
    vec![
        ("osdsctl", after(0, "limit=50&offset=0&sortDir=desc&sortKey=id&Name=&Status=available&PoolId=&GroupId=&Id=")),
        ("alternatives", after(0, "name=a&Name=b&sortKey=NAME&sortDir=asc")),
        ("marker", after(1, "marker=ID&sortKey=createdAt&limit=100000")),
        ("marker-wrong", after(1, "marker=x")),
        ("attachments", after(2, "VolumeId=ID&hostId=ID&status=detached&attachMode=ro&mountpoint=/mnt")),
        ("hosts", after(3, "hostName=h&ip=192.0.2.7&osType=linux&accessMode=agent&tenantId=t")),
        ("profiles", after(4, "storageType=block&name=default_block")),
        ("pools", after(5, "name=default&freeCapacity=7&retired=false&offset=1&limit=1&sortKey=name")),
        ("never-set", after(0, "GroupId=g&DurableName=x&userId=u")),
        ("wait", after(0, "waitFor=available,error&timeout=30")),
        ("wait-legacy", after(2, "waitFor=creating,errorDeleting,deleted&timeout=99999999999999999999")),
        ("wait-for-none", after(3, "waitFor=blue&timeout=-1")),
        ("flags", after(0, "force=true&cascade=1&forget=")),
        ("flags-wrong", after(0, "force=yes&cascade=TRUE&forget=2")),
        ("journal", after(0, "since=18446744073709551615&limit=0")),
        ("journal-wrong", after(0, "since=-1&limit=1e3")),
        ("offset-deep", after(0, "offset=10001")),
        ("limit-below", after(0, "limit=-9223372036854775808&offset=-1")),
        ("limit-beyond", after(0, "limit=9223372036854775808")),
        ("encoded", after(0, "n%61me=%00%ff&%E2%84%AA=%&+=+&=&&name")),
        ("capital-that-grows", after(0, "%C4%B0d=x&%EF%AC%81=y")),
    ]
}

fn heads() -> Seeds {
    let head = |text: &str| text.replace("ID", ID).into_bytes();
    vec![
        ("bare", head("e93b4c0934da416eb9c8d120c5d04d96\nID")),
        ("if-match", head("t\nID\nIf-Match: \"7\"")),
        ("if-match-weak", head("t\nID\nIf-Match: W/\"7\"")),
        ("if-match-any", head("t\nID\nIf-Match: *")),
        ("if-match-bare", head("t\nID\nIf-Match: 7")),
        ("if-match-plus", head("t\nID\nIf-Match: \"+7\"")),
        ("if-match-zeros", head("t\nID\nIf-Match: 007")),
        ("if-match-half-a-quote", head("t\nID\nIf-Match: \"7")),
        ("if-match-very-weak", head("t\nID\nIf-Match: W/W/\"7\"")),
        ("if-match-list", head("t\nID\nIf-Match: \"7\", \"8\"")),
        ("if-match-twice", head("t\nID\nIf-Match: \"7\"\nIf-Match: \"8\"")),
        ("if-match-beyond", head("t\nID\nIf-Match: \"18446744073709551616\"")),
        ("if-none-match", head("t\nID\nIf-None-Match: W/\"6\", \"7\"")),
        ("key", head("t\nID\nIdempotency-Key: once\nX-Request-Id: r-1\nContent-Type: application/json; charset=utf-8")),
        ("key-empty", head("t\nID\nIdempotency-Key:")),
        ("key-twice", head("t\nID\nIdempotency-Key: a\nIdempotency-Key: b")),
        ("key-not-ascii", head("t\nID\nIdempotency-Key: \u{fc}\nX-Request-Id: \u{fc}")),
        ("a-form", head("t\nID\nContent-Type: application/x-www-form-urlencoded")),
        ("a-patch", head("t\nID\nContent-Type: application/merge-patch+json")),
        ("no-tenant", head("\nID")),
        ("tenant-of-a-shell", head("x; touch /tmp/p; echo\nID")),
        ("tenant-as-an-option", head("-x\nID")),
        ("tenant-of-all", head("a-Z_9.@:\nID")),
        ("id-braced", head("t\n{ID}")),
        ("id-urn", head("t\nurn:uuid:ID")),
        ("id-simple", head("t\n7f3a7f3a7f3a4f3a8f3a7f3a7f3a7f3a")),
        ("id-capital", head("t\n7F3A7F3A-7F3A-4F3A-8F3A-7F3A7F3A7F3A")),
        ("id-none", head("t\n\u{0}../x")),
    ]
}

#[test]
fn the_seeds_are_kept() {
    keep("rest_body", bodies());
    keep("rest_query", queries());
    keep("rest_head", heads());
}
