//! Avro: definitions in JSON, and whether bytes are one datum of a definition. Reads no values, allocates nothing per datum.

use serde_json::{Map, Value};
use std::collections::HashMap;

/// How deep values may lie in one another.
const MOST_DEPTH: usize = 256;

/// A parsed definition; types refer to one another by their place, so that they may be recursive.
#[derive(Debug)]
pub(crate) struct Avro {
    types: Vec<Type>,
    root: usize,
}

#[derive(Debug, Clone)]
enum Type {
    Null,
    Boolean,
    /// `int` and `enum` positions: 32 bits.
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(usize),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<usize>),
}

impl Avro {
    /// The definition that this JSON text is.
    ///
    /// # Errors
    /// In words for people, what is wrong with it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let json: Value = serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let mut parser = Parser { types: Vec::new(), names: HashMap::new() };
        let root = parser.parse(&json, "")?;
        Ok(Self { types: parser.types, root })
    }

    /// Whether the bytes are exactly one datum.
    ///
    /// # Errors
    /// In words for people, where they are not.
    pub(super) fn payload(&self, payload: &[u8]) -> Result<(), String> {
        // Values of no bytes may be claimed without end.
        let mut walk = Walk { types: &self.types, rest: payload, steps: 1_024 + payload.len().saturating_mul(64) };
        match walk.value(self.root, 0) {
            Some(()) if walk.rest.is_empty() => Ok(()),
            Some(()) => Err(format!("{} bytes are left behind its Avro datum", walk.rest.len())),
            None => Err(format!("it is not an Avro datum of the schema (at byte {})", payload.len() - walk.rest.len())),
        }
    }
}

struct Parser {
    types: Vec<Type>,
    names: HashMap<String, usize>,
}

impl Parser {
    fn add(&mut self, kind: Type) -> usize {
        self.types.push(kind);
        self.types.len() - 1
    }

    fn parse(&mut self, json: &Value, space: &str) -> Result<usize, String> {
        match json {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.parse(branch, space)).collect::<Result<_, _>>()?;
                Ok(self.add(Type::Union(branches)))
            }
            Value::Object(fields) => self.complex(fields, space),
            _ => Err("a type is neither a name, an object nor a list".to_owned()),
        }
    }

    fn named(&mut self, name: &str, space: &str) -> Result<usize, String> {
        let simple = match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::String,
            _ => {
                let found = self.names.get(&full_name(name, space)).or_else(|| self.names.get(name));
                return found.copied().ok_or_else(|| format!("the type `{name}` is not known"));
            }
        };
        Ok(self.add(simple))
    }

    fn complex(&mut self, fields: &Map<String, Value>, space: &str) -> Result<usize, String> {
        let kind = fields.get("type").ok_or("a type has no `type`")?;
        let Value::String(kind) = kind else { return self.parse(kind, space) };
        match kind.as_str() {
            "array" => {
                let items = self.parse(fields.get("items").ok_or("an array has no `items`")?, space)?;
                Ok(self.add(Type::Array(items)))
            }
            "map" => {
                let values = self.parse(fields.get("values").ok_or("a map has no `values`")?, space)?;
                Ok(self.add(Type::Map(values)))
            }
            "fixed" => {
                let size = fields.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                let at = self.add(Type::Fixed(size.ok_or("a fixed has no `size`")?));
                self.name(fields, space, at).map(|_| at)
            }
            "enum" => {
                let symbols = fields.get("symbols").and_then(Value::as_array).ok_or("an enum has no `symbols`")?;
                let at = self.add(Type::Enum(symbols.len()));
                self.name(fields, space, at).map(|_| at)
            }
            "record" | "error" => {
                // Named before its fields, which may refer to it.
                let at = self.add(Type::Record(Vec::new()));
                let inner = self.name(fields, space, at)?;
                let members = fields.get("fields").and_then(Value::as_array).ok_or("a record has no `fields`")?;
                let mut types = Vec::with_capacity(members.len());
                for member in members {
                    types.push(self.parse(member.get("type").ok_or("a field has no `type`")?, &inner)?);
                }
                self.types[at] = Type::Record(types);
                Ok(at)
            }
            // A logical type, or a name wrapped in an object.
            other => self.named(other, space),
        }
    }

    /// Remembers a named type; gives the namespace inside it.
    fn name(&mut self, fields: &Map<String, Value>, space: &str, at: usize) -> Result<String, String> {
        let name = fields.get("name").and_then(Value::as_str).ok_or("a record, enum or fixed has no `name`")?;
        let space = fields.get("namespace").and_then(Value::as_str).unwrap_or(space);
        let full = full_name(name, space);
        let inner = full.rsplit_once('.').map_or_else(String::new, |(space, _)| space.to_owned());
        self.names.insert(full, at);
        Ok(inner)
    }
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

struct Walk<'a> {
    types: &'a [Type],
    rest: &'a [u8],
    steps: usize,
}

impl Walk<'_> {
    fn value(&mut self, at: usize, depth: usize) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        if depth > MOST_DEPTH {
            return None;
        }
        let types = self.types;
        match &types[at] {
            Type::Null => Some(()),
            Type::Boolean => matches!(self.skip(1)?, [0 | 1]).then_some(()),
            Type::Int => i32::try_from(self.long()?).ok().map(drop),
            Type::Long => self.long().map(drop),
            Type::Float => self.skip(4).map(drop),
            Type::Double => self.skip(8).map(drop),
            Type::Bytes => self.sized().map(drop),
            Type::String => std::str::from_utf8(self.sized()?).ok().map(drop),
            Type::Fixed(size) => self.skip(*size).map(drop),
            Type::Enum(symbols) => (usize::try_from(self.long()?).ok()? < *symbols).then_some(()),
            Type::Array(items) => self.blocks(|walk| walk.value(*items, depth + 1)),
            Type::Map(values) => self.blocks(|walk| {
                std::str::from_utf8(walk.sized()?).ok()?;
                walk.value(*values, depth + 1)
            }),
            Type::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok()?;
                self.value(*branches.get(branch)?, depth + 1)
            }
            Type::Record(fields) => fields.iter().try_for_each(|field| self.value(*field, depth + 1)),
        }
    }

    /// The blocks of an array or a map.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Some(());
            }
            if count < 0 {
                // Followed by its size in bytes.
                self.long()?;
                count = count.checked_neg()?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    fn skip(&mut self, size: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(taken)
    }

    fn sized(&mut self) -> Option<&[u8]> {
        let size = usize::try_from(self.long()?).ok()?;
        self.skip(size)
    }

    /// A zigzag varint.
    fn long(&mut self) -> Option<i64> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.skip(1)?.first()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                let half = i64::try_from(number >> 1).expect("half of a u64 fits");
                return Some(if number & 1 == 0 { half } else { !half });
            }
        }
        None
    }
}
