//! Holds a body to a schema of the API document: the part of JSON Schema that the document uses, and nothing else.

use serde_json::Value;

const KNOWN: &[&str] = &[
    "$ref",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "anyOf",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "maxProperties",
    "format",
    "description",
];

/// What is wrong with `body`, if anything; `at` is where in it.
pub(crate) fn check(document: &Value, schema: &Value, body: &Value, at: &str) -> Result<(), String> {
    let words = schema.as_object().ok_or(format!("{at}: the schema is no object"))?;
    if let Some(unknown) = words.keys().find(|word| !KNOWN.contains(&word.as_str())) {
        return Err(format!("{at}: the schema says {unknown}, which is not checked"));
    }
    if let Some(name) = words.get("$ref").and_then(Value::as_str) {
        let target = document.pointer(name.trim_start_matches('#')).ok_or(format!("{at}: {name} is not in the document"))?;
        return check(document, target, body, at);
    }
    if let Some(any) = words.get("anyOf").and_then(Value::as_array) {
        let all: Vec<_> = any.iter().map(|one| check(document, one, body, at)).collect();
        return if all.iter().any(Result::is_ok) { Ok(()) } else { Err(format!("{at}: fits none: {all:?}")) };
    }
    let types: Vec<&str> = match words.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if !types.is_empty() && !types.iter().any(|kind| is(body, kind)) {
        return Err(format!("{at}: {body} is none of {types:?}"));
    }
    if let Some(all) = words.get("enum").and_then(Value::as_array)
        && !all.contains(body)
    {
        return Err(format!("{at}: {body} is none of {all:?}"));
    }
    if let (Some(least), Some(number)) = (words.get("minimum").and_then(Value::as_u64), body.as_u64())
        && number < least
    {
        return Err(format!("{at}: {number} is below {least}"));
    }
    if let (Some(most), Some(number)) = (words.get("maximum").and_then(Value::as_u64), body.as_u64())
        && number > most
    {
        return Err(format!("{at}: {number} is above {most}"));
    }
    if let Some(text) = body.as_str() {
        let bound = |word: &str| words.get(word).and_then(Value::as_u64);
        let length = text.chars().count() as u64;
        if bound("minLength").is_some_and(|least| length < least) || bound("maxLength").is_some_and(|most| length > most) {
            return Err(format!("{at}: a text of {length} characters"));
        }
    }
    if let (Some(0), Some(items)) = (words.get("maxItems").and_then(Value::as_u64), body.as_array())
        && !items.is_empty()
    {
        return Err(format!("{at}: it is not empty"));
    }
    if let (Some(item), Some(items)) = (words.get("items"), body.as_array()) {
        items.iter().enumerate().try_for_each(|(index, one)| check(document, item, one, &format!("{at}[{index}]")))?;
    }
    fields(document, schema, body, at)
}

fn is(body: &Value, kind: &str) -> bool {
    match kind {
        "object" => body.is_object(),
        "array" => body.is_array(),
        "string" => body.is_string(),
        "integer" => body.is_u64() || body.is_i64(),
        "number" => body.is_number(),
        "boolean" => body.is_boolean(),
        "null" => body.is_null(),
        other => panic!("no such type: {other}"),
    }
}

fn fields(document: &Value, schema: &Value, body: &Value, at: &str) -> Result<(), String> {
    let Some(body) = body.as_object() else { return Ok(()) };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !body.contains_key(*name)) {
        return Err(format!("{at}: {missing} is missing"));
    }
    for (name, value) in body {
        let at = format!("{at}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(known), _) => check(document, known, value, &at)?,
            (None, Value::Bool(false)) => return Err(format!("{at} is not in the document")),
            (None, more @ Value::Object(_)) => check(document, more, value, &at)?,
            (None, _) => {}
        }
    }
    Ok(())
}
