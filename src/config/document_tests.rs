#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;
use std::fs;

fn reading(name: &str, text: &[u8]) -> Result<Map<String, Value>, Problem> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    read(&file)
}

#[test]
fn json_and_yaml_come_to_the_same() {
    let wanted = json!({ "name": "orders", "parallelism": 2, "configs": { "awsRegion": "eu-west-1", "list": [1, true, null, 1.5] } });
    let json = br#"{"name":"orders","parallelism":2,"configs":{"awsRegion":"eu-west-1","list":[1,true,null,1.5]}}"#;
    let yaml = b"# a source\nname: orders\nparallelism: 2\nconfigs:\n  awsRegion: eu-west-1\n  list: [1, true, null, 1.5]\n";
    for (name, text) in [("a.json", json.as_slice()), ("a.yaml", yaml), ("a.yml", yaml), ("a.conf", json), ("a", yaml), ("b.yaml", json)] {
        assert_eq!(Value::Object(reading(name, text).unwrap()), wanted, "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    for (name, text, wanted) in [
        ("a.json", b"{\"name\": \"x\",\n \"configs\": {\"a\": 1,}\n}".as_slice(), "is not JSON at line 2, column 21"),
        ("a.json", b"{\"name\": \"x\"", "is not JSON at line 1, column 12"),
        ("a.yaml", b"name: x\nconfigs:\n  a: 1\n b: 2\n", "is not YAML at line 4, column 2"),
        ("a.yaml", b"name: x\nother: }\n", "is not YAML at line 2"),
        ("a.json", b"{\"name\": 1,\n\"name\": 2}", "two values are given for the key `name`"),
        ("a.yaml", b"configs:\n  a: 1\n  a: 2\n", "two values are given for the key `a`"),
        ("a.json", b"[1]", "holds a list"),
        ("a.yaml", b"", "is empty"),
        ("a.yaml", b"just text", "holds a text"),
        ("a.yaml", b"name: x\n\xff", "line 2 is not UTF-8"),
    ] {
        let problem = reading(name, text).unwrap_err();
        assert!(problem.cause.contains(wanted), "{wanted}: {}", problem.cause);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problem = read(Path::new("nowhere/orders.json")).unwrap_err();
    assert_eq!(problem.cause, "`nowhere/orders.json` cannot be read: there is no such file");
}

#[test]
fn the_text_itself_is_never_repeated() {
    let problem = reading("a.json", br#"{"awsCredentialPluginParam": "AKIAEXAMPLE" "x"}"#).unwrap_err();
    assert!(!problem.to_string().contains("AKIAEXAMPLE"));
    let problem = reading("a.yaml", b"param: \"AKIAEXAMPLE\" x\n").unwrap_err();
    assert!(!problem.to_string().contains("AKIAEXAMPLE"));
}

#[test]
fn json_in_a_flag_is_named_by_its_flag() {
    assert_eq!(read_flag("--source-config", "{\"a\": 1}").unwrap()["a"], json!(1));
    for text in ["{\"a\":", "[]", "", "a: 1"] {
        assert_eq!(read_flag("--source-config", text).unwrap_err().path, "--source-config", "{text}");
    }
}
