#![allow(clippy::unwrap_used)]

use super::avro::Avro;
use super::*;
use proptest::prelude::*;

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},{"name":"cents","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","DONE"]}},
    {"name":"before","type":["null","Order"],"default":null},{"name":"was","type":["null","shop.State"]},
    {"name":"tags","type":{"type":"map","values":"int"}},{"name":"sums","type":{"type":"array","items":"double"}},
    {"name":"hash","type":{"type":"fixed","name":"Hash","size":2}},{"name":"paid","type":"boolean"}]}"#;

/// An order: id "a", -1 cents, state DONE, nothing before, was NEW, tags {"x": 1}, sums [0.0], hash, paid.
fn order() -> Vec<u8> {
    let mut bytes = vec![2, b'a', 1, 2, 0, 2, 0, 2, 2, b'x', 2, 0, 2];
    bytes.extend([0; 8]);
    bytes.extend([0, 9, 9, 1]);
    bytes
}

fn config(kind: &str, properties: &[(&str, &str)]) -> SchemaConfig {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    SchemaConfig { schema_type: Some(kind.to_owned()), properties }
}

fn definition(config: &SchemaConfig) -> Arc<Definition> {
    match config.declared().unwrap() {
        Declared::Schema(definition) => definition,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_datum_is_told_from_what_is_none() {
    let avro = Avro::parse(ORDER.as_bytes()).unwrap();
    let order = order();
    assert_eq!(avro.payload(&order), Ok(()));
    // An order inside an order.
    let mut nested = order[..4].to_vec();
    nested.push(2);
    nested.extend(&order);
    nested.extend(&order[5..]);
    assert_eq!(avro.payload(&nested), Ok(()));
    // A block that says its size.
    let mut sized = order[..7].to_vec();
    sized.extend([1, 6]);
    sized.extend(&order[8..]);
    assert_eq!(avro.payload(&sized), Ok(()));
    for (at, byte) in [(0, 200), (3, 4), (4, 6), (4, 1), (1, 0xff), (order.len() - 1, 2)] {
        let mut changed = order.clone();
        changed[at] = byte;
        assert!(avro.payload(&changed).is_err(), "byte {at} as {byte}");
    }
    for size in 0..order.len() {
        assert!(avro.payload(&order[..size]).is_err(), "cut to {size}");
    }
    let longer = [&order[..], &[0]].concat();
    assert_eq!(avro.payload(&longer).unwrap_err(), "1 bytes are left behind its Avro datum");
}

#[test]
fn a_definition_that_lets_values_of_no_bytes_go_on_for_ever_comes_to_an_end() {
    let nulls = Avro::parse(br#"{"type":"array","items":"null"}"#).unwrap();
    let claimed = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
    assert!(nulls.payload(&claimed).is_err());
    let itself = Avro::parse(br#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#).unwrap();
    assert!(itself.payload(&[0; 100]).is_err());
}

#[test]
fn what_is_no_definition_is_refused_with_the_reason() {
    for (text, why) in [
        ("{", "not JSON"),
        (r#""nothing""#, "`nothing` is not known"),
        (r#"{"type":"record","name":"R"}"#, "no `fields`"),
        (r#"{"type":"enum","symbols":[]}"#, "no `name`"),
        ("7", "neither a name"),
    ] {
        let problem = config("avro", &[("schema", text)]).validate().remove(0);
        assert_eq!(problem.path, "schemaProperties.schema");
        assert!(problem.to_string().contains(why), "{problem}");
    }
}

#[test]
fn each_type_is_declared_as_java_declares_it() {
    let text = definition(&config("STRING", &[]));
    assert_eq!((text.schema.kind, text.schema.name.as_str(), text.schema.schema_data.len()), (1, "String", 0));
    let json = definition(&config("json", &[("schema", ORDER), ("owner", "shop")]));
    assert_eq!((json.schema.kind, &json.schema.schema_data[..]), (2, ORDER.as_bytes()));
    assert_eq!(json.schema.properties, [KeyValue { key: "owner".into(), value: "shop".into() }]);
    assert!(json.check.is_none());
    let avro = definition(&config("Avro", &[("schema", ORDER), ("validate", "true")]));
    assert_eq!(avro.schema.kind, 4);
    assert_eq!(avro.check.as_ref().unwrap().payload(&order()), Ok(()));
    assert!(matches!(config("AUTO_PRODUCE_BYTES", &[]).declared(), Ok(Declared::OfTopic { validate: false })));
    assert!(matches!(config("bytes", &[]).declared(), Ok(Declared::Nothing)));
    assert!(matches!(SchemaConfig::default().declared(), Ok(Declared::Nothing)));
}

#[test]
fn a_definition_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("order.avsc").display().to_string();
    let config = config("avro", &[("schemaFile", &path)]);
    assert_eq!(config.validate()[0].path, "schemaProperties.schemaFile");
    std::fs::write(&path, ORDER).unwrap();
    assert_eq!(definition(&config).schema.schema_data, ORDER);
}

#[test]
fn what_cannot_be_declared_is_refused_by_its_path() {
    for (kind, properties, path) in [
        ("protobuf", &[][..], "schemaType"),
        ("json", &[], "schemaProperties.schema"),
        ("avro", &[("schema", ORDER), ("schemaFile", "x")], "schemaProperties.schemaFile"),
        ("json", &[("schema", ORDER), ("validate", "yes")], "schemaProperties.validate"),
        ("bytes", &[("schema", ORDER)], "schemaProperties.schema"),
    ] {
        assert_eq!(config(kind, properties).validate()[0].path, path);
    }
}

#[test]
fn json_and_text_are_held_against_what_they_are() {
    let json = definition(&config("json", &[("schema", ORDER), ("validate", "true")]));
    let check = json.check.as_ref().unwrap();
    assert_eq!(check.payload(br#"{"id":"a"}"#), Ok(()));
    assert!(check.payload(br#"{"id":"#).unwrap_err().contains("not JSON"));
    let text = definition(&config("string", &[("validate", "TRUE")]));
    assert_eq!(text.check.as_ref().unwrap().payload("ключ".as_bytes()), Ok(()));
    assert!(text.check.as_ref().unwrap().payload(&[0xff]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let avro = Avro::parse(ORDER.as_bytes()).unwrap();
        // The answer does not matter, only that there is one.
        let _any = avro.payload(&bytes);
    }
}
