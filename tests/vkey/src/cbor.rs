//! CBOR as CTAP2 uses it: maps with few entries, written in the order given (which is the canonical one).

pub use ciborium::Value;

pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

pub fn decode(bytes: &[u8]) -> Option<Value> {
    ciborium::from_reader(bytes).ok()
}

pub fn map<K: Into<Value>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

pub fn array<V: Into<Value>>(items: impl IntoIterator<Item = V>) -> Value {
    Value::Array(items.into_iter().map(Into::into).collect())
}

pub fn get(map: &Value, key: impl Into<Value>) -> Option<&Value> {
    let key = key.into();
    map.as_map()?.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
}

pub fn bytes(map: &Value, key: impl Into<Value>) -> Option<&[u8]> {
    get(map, key)?.as_bytes().map(Vec::as_slice)
}

pub fn text(map: &Value, key: impl Into<Value>) -> Option<&str> {
    get(map, key)?.as_text()
}

pub fn integer(map: &Value, key: impl Into<Value>) -> Option<i64> {
    get(map, key)?.as_integer()?.try_into().ok()
}

pub fn boolean(map: &Value, key: impl Into<Value>) -> Option<bool> {
    get(map, key)?.as_bool()
}
