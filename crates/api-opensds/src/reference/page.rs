//! The API document as HTML.
//!
//! Everything that comes from the document is escaped, though it is our own.

use super::examples::{Exchange, best, exchanges, line, with_values};
use crate::markup::{escaped, prose};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Where the chapters begin: title, and what their paths begin with. What no chapter takes is in the last one.
const CHAPTERS: &[(&str, &[&str])] = &[
    ("Volumes", &["/block/volumes"]),
    ("Snapshots", &["/block/snapshots"]),
    ("Attachments", &["/block/attachments"]),
    ("Events", &["/block/events"]),
    ("Hosts", &["/host/hosts"]),
    ("Profiles", &["/profiles"]),
    ("Pools", &["/pools", "/docks", "/availabilityZones"]),
    ("Diagnosis", &["/doctor"]),
    ("What OpenSDS has besides", &["/block/"]),
    ("The server", &[""]),
];

/// What every request takes, told once.
const EVERYWHERE: &[&str] = &["tenant", "X-Request-Id"];

/// How deep bodies in bodies are told in place; deeper ones are behind their link.
const DEPTH_MAX: usize = 3;

/// One operation of the document.
struct Operation<'a> {
    method: String,
    path: &'a str,
    told: &'a Value,
}

impl Operation<'_> {
    fn anchor(&self) -> String {
        let below = self.path.strip_prefix("/v1beta/{tenant}").unwrap_or(self.path);
        // `/version` and `/{version}` are two.
        let letter = |c: char| match c {
            '{' => '_',
            c if c.is_ascii_alphanumeric() => c,
            _ => '-',
        };
        let words: String = below.chars().filter(|c| *c != '}').map(letter).collect();
        format!("{}{}", self.method.to_lowercase(), words.trim_end_matches('-'))
    }

    /// The path as people know it: without what is the same of all.
    fn short(&self) -> &str {
        self.path.strip_prefix("/v1beta/{tenant}").unwrap_or(self.path)
    }
}

/// The page.
pub(super) fn page(document: &Value) -> String {
    let chapters = chapters(document);
    let exchanges = exchanges();
    let mut page = String::with_capacity(400 << 10);
    let version = escaped(document["info"]["version"].as_str().unwrap_or_default());
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Berth {version}: API reference</title>\n<link rel=\"stylesheet\" href=\"/docs/style.css\">\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">To the text</a>\n"
    );
    contents(&mut page, &chapters, &version);
    page.push_str("<main id=\"main\">\n");
    introduction(&mut page, document, &exchanges, &version);
    for (title, operations) in &chapters {
        let _ = writeln!(page, "<section class=\"chapter\" id=\"{}\">\n<h2>{}</h2>", slug(title), escaped(title));
        for operation in operations {
            describe(&mut page, document, operation, &exchanges);
        }
        page.push_str("</section>\n");
    }
    schemas(&mut page, document);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn slug(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

fn chapters(document: &Value) -> Vec<(&'static str, Vec<Operation<'_>>)> {
    let mut chapters: Vec<(&str, Vec<Operation<'_>>)> = CHAPTERS.iter().map(|(title, _)| (*title, Vec::new())).collect();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let below = path.strip_prefix("/v1beta/{tenant}");
        let takes = |(_, begin): &&(&str, &[&str])| below.is_some_and(|below| begin.iter().any(|part| below.starts_with(part)));
        let at = CHAPTERS.iter().position(|chapter| takes(&chapter)).unwrap_or(CHAPTERS.len() - 1);
        for (method, told) in item.as_object().into_iter().flatten() {
            chapters[at].1.push(Operation { method: method.to_uppercase(), path, told });
        }
    }
    let order = |operation: &Operation<'_>| {
        let rank = ["POST", "GET", "PUT", "DELETE"].iter().position(|method| *method == operation.method);
        // Collections first, then one of them, then what is done to it; a listing before a making.
        (operation.path.matches('/').count(), operation.path.to_owned(), rank.map(|rank| if rank < 2 { 1 - rank } else { rank }))
    };
    chapters.iter_mut().for_each(|(_, operations)| operations.sort_by_key(order));
    chapters.retain(|(_, operations)| !operations.is_empty());
    chapters
}

fn contents(page: &mut String, chapters: &[(&str, Vec<Operation<'_>>)], version: &str) {
    let _ = write!(
        page,
        "<nav aria-label=\"Contents\">\n<p class=\"brand\"><a href=\"#main\">Berth</a> <span>{version}</span></p>\n<ul>\n\
         <li><a href=\"#begin\">To begin</a></li>\n<li><a href=\"#statuses\">Statuses</a></li>\n<li><a href=\"#errors\">Errors</a></li>\n</ul>\n"
    );
    for (title, operations) in chapters {
        let _ = write!(page, "<details open><summary>{}</summary>\n<ul>\n", escaped(title));
        for operation in operations {
            let (method, short) = (&operation.method, breakable(operation.short()));
            let _ = writeln!(
                page,
                "<li><a href=\"#{}\"><b class=\"m {}\">{method}</b> <span>{short}</span></a></li>",
                operation.anchor(),
                method.to_lowercase()
            );
        }
        page.push_str("</ul></details>\n");
    }
    page.push_str(
        "<ul>\n<li><a href=\"#bodies\">Bodies</a></li>\n<li><a href=\"/openapi.json\">openapi.json</a></li>\n</ul>\n</nav>\n",
    );
}

/// A path that may be broken before its slashes.
fn breakable(path: &str) -> String {
    escaped(path).replace('/', "<wbr>/")
}

fn introduction(page: &mut String, document: &Value, exchanges: &[Exchange], version: &str) {
    let info = &document["info"];
    let _ = write!(
        page,
        "<header id=\"begin\">\n<h1>Berth {version}: API reference</h1>\n<p class=\"lead\">{}</p>\n<p>{}</p>\n\
         <p>This page is made from <a href=\"/openapi.json\"><code>/openapi.json</code></a>. The lines for a shell work as they stand once \
         <code>BERTH</code> is set, and <code>ID</code> to a resource's id:</p>\n\
         <pre tabindex=\"0\"><code>export BERTH=http://127.0.0.1:50040/v1beta/{}\ncurl -s \"$BERTH/block/volumes\"</code></pre>\n\
         <p>Answers that are shown were given to a test; ids and times stand for those that it saw.</p>\n",
        prose(info["summary"].as_str().unwrap_or_default()),
        prose(info["description"].as_str().unwrap_or_default()),
        crate::DEFAULT_TENANT,
    );
    let every = |name: &str| {
        let mut all =
            document["paths"].as_object().into_iter().flatten().flat_map(|(_, item)| item.as_object().into_iter().flatten());
        let found = all.find_map(|(_, told)| told["parameters"].as_array()?.iter().find(|parameter| parameter["name"] == name));
        found.cloned().unwrap_or_default()
    };
    page.push_str("<h2>Every request</h2>\n");
    let all: Vec<Value> = EVERYWHERE.iter().map(|name| every(name)).collect();
    parameters(page, &all.iter().collect::<Vec<_>>());
    page.push_str("</header>\n");
    pictures(page);
    errors(page, document, exchanges);
}

fn pictures(page: &mut String) {
    page.push_str(
        "<section id=\"statuses\">\n<h2>Statuses</h2>\n<p>A status is derived from the record, never assigned. What each promises, and what \
         leads where, is told by <a href=\"/v1beta/statemachine\"><code>/v1beta/statemachine</code></a>.</p>\n",
    );
    for resource in lifecycle::Resource::ALL {
        let word = resource.word();
        let article = if word.starts_with('a') { "an" } else { "a" };
        let _ = write!(
            page,
            "<h3 id=\"statuses-{word}\">Of {article} {word}</h3>\n<a href=\"/v1beta/statemachine?format=svg&amp;resource={word}\"><img \
             src=\"/v1beta/statemachine?format=svg&amp;resource={word}\" alt=\"The statuses of {article} {word}, and what leads from one to \
             another\" loading=\"lazy\"></a>\n<div class=\"wide\"><table>\n<thead><tr><th>status</th><th>what holds, as of the last look</th></tr></thead>\n<tbody>\n"
        );
        for status in lifecycle::table::statuses(*resource) {
            let (class, promise) = (status.class.word(), prose(status.promise));
            let _ = writeln!(page, "<tr><td><code class=\"s {class}\">{}</code></td><td>{promise}</td></tr>", escaped(status.word));
        }
        page.push_str("</tbody></table></div>\n");
    }
    page.push_str("</section>\n");
}

fn errors(page: &mut String, document: &Value, exchanges: &[Exchange]) {
    page.push_str(
        "<section id=\"errors\">\n<h2>Errors</h2>\n<p>Each has a body of <a href=\"#body-Error\"><code>Error</code></a>.</p>\n\
         <div class=\"wide\"><table>\n<thead><tr><th>code</th><th>what it means</th></tr></thead>\n<tbody>\n",
    );
    for (code, told) in document["components"]["responses"].as_object().into_iter().flatten() {
        let headers = headers(told);
        let _ = writeln!(
            page,
            "<tr id=\"error-{code}\"><td><code>{code}</code></td><td>{}{headers}</td></tr>",
            prose(told["description"].as_str().unwrap_or_default())
        );
    }
    page.push_str("</tbody></table></div>\n");
    if let Some(refused) = exchanges.iter().find(|exchange| exchange.code == 409 && exchange.answer.contains("allowed")) {
        page.push_str("<p>One that tells what stands in the way, and what can be done:</p>\n");
        show(page, refused);
    }
    page.push_str("</section>\n");
}

fn describe(page: &mut String, document: &Value, operation: &Operation<'_>, exchanges: &[Exchange]) {
    let Operation { method, path, told } = operation;
    let anchor = operation.anchor();
    let _ = write!(
        page,
        "<article id=\"{anchor}\">\n<h3><a class=\"self\" href=\"#{anchor}\"><b class=\"m {}\">{method}</b> <code>{}</code></a></h3>\n<p>{}</p>\n",
        method.to_lowercase(),
        breakable(path),
        sentence(told["summary"].as_str().unwrap_or_default()),
    );
    let own: Vec<&Value> = told["parameters"].as_array().into_iter().flatten().filter(|one| !is_everywhere(one)).collect();
    parameters(page, &own);
    if let Some(schema) = told["requestBody"]["content"]["application/json"].get("schema") {
        let _ = writeln!(page, "<h4>Body: {}</h4>", kind(schema));
        fields(page, document, schema, 0);
    }
    answers(page, told);
    example(page, operation, exchanges);
    page.push_str("</article>\n");
}

fn is_everywhere(parameter: &Value) -> bool {
    parameter["name"].as_str().is_some_and(|name| EVERYWHERE.contains(&name))
}

/// The text as a sentence.
fn sentence(text: &str) -> String {
    let text = prose(text);
    if text.is_empty() || text.ends_with(['.', '>']) { text } else { format!("{text}.") }
}

/// The parameters; those that only filter a list share one row.
fn parameters(page: &mut String, all: &[&Value]) {
    if all.is_empty() {
        return;
    }
    let filter = "only those with this value; several are alternatives";
    let (filters, own): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|one| one["description"] == filter);
    page.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th>parameter</th><th>in</th><th>type</th><th>what it means</th></tr></thead>\n<tbody>\n",
    );
    for one in own {
        let needed = if one["required"] == true && one["in"] != "path" { " <em>needed</em>" } else { "" };
        let _ = writeln!(
            page,
            "<tr><td><code>{}</code>{needed}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(one["name"].as_str().unwrap_or_default()),
            escaped(one["in"].as_str().unwrap_or_default()),
            kind(&one["schema"]),
            prose(one["description"].as_str().unwrap_or_default()),
        );
    }
    if !filters.is_empty() {
        let names: Vec<_> =
            filters.iter().filter_map(|one| one["name"].as_str()).map(|name| format!("<code>{}</code>", escaped(name))).collect();
        let _ = writeln!(page, "<tr><td>{}</td><td>query</td><td>string</td><td>{filter}</td></tr>", names.join(" "));
    }
    page.push_str("</tbody></table></div>\n");
}

/// The type of a schema in words, linked where it has a name.
fn kind(schema: &Value) -> String {
    if let Some(name) = named(schema) {
        return format!("<a href=\"#body-{0}\"><code>{0}</code></a>", escaped(name));
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().map(|word| format!("<code>{}</code>", escaped(word.as_str().unwrap_or("null")))).collect();
        return words.join(", ");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(kinds) = schema[key].as_array() {
            return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let words = match &schema["type"] {
        Value::String(word) => word.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    };
    match (words.as_str(), schema["format"].as_str()) {
        ("array", _) => format!("list of {}", kind(&schema["items"])),
        (_, Some(format)) => escaped(format),
        ("object", _) if schema["additionalProperties"].is_object() => {
            format!("object of {}", kind(&schema["additionalProperties"]))
        }
        (words, None) => format!("{}{}", escaped(words), bounds(schema)),
    }
}

fn bounds(schema: &Value) -> String {
    let number = |key: &str| schema[key].as_i64().filter(|least| *least != 0);
    let mut bounds: Vec<String> = Vec::new();
    bounds.extend(number("minimum").map(|least| format!("from {least}")));
    bounds.extend(number("maximum").map(|most| format!("to {most}")));
    bounds.extend(number("maxLength").map(|most| format!("at most {most} characters")));
    if bounds.is_empty() { String::new() } else { format!(" {}", bounds.join(" ")) }
}

fn named(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    named(schema).map_or(schema, |name| &document["components"]["schemas"][name])
}

/// The fields of a body as a table; objects in it that have no name are told in place.
fn fields(page: &mut String, document: &Value, schema: &Value, depth: usize) {
    let schema = resolved(document, schema);
    let nothing = Map::new();
    let all = schema["properties"].as_object().unwrap_or(&nothing);
    if all.is_empty() {
        return;
    }
    page.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th>field</th><th>type</th><th>what it means</th></tr></thead>\n<tbody>\n",
    );
    rows(page, schema, "", depth);
    page.push_str("</tbody></table></div>\n");
}

fn rows(page: &mut String, schema: &Value, before: &str, depth: usize) {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let needed = if required.contains(&name.as_str()) { "" } else { " <em>may be absent</em>" };
        let path = format!("{before}{}", escaped(name));
        let _ = writeln!(
            page,
            "<tr><td><code>{path}</code>{needed}</td><td>{}</td><td>{}</td></tr>",
            kind(field),
            prose(field["description"].as_str().unwrap_or_default()),
        );
        let inner = if field["type"] == "array" { &field["items"] } else { field };
        if depth < DEPTH_MAX && inner["properties"].is_object() {
            let list = if field["type"] == "array" { "[]" } else { "" };
            rows(page, inner, &format!("{path}{list}."), depth + 1);
        }
    }
}

fn answers(page: &mut String, told: &Value) {
    page.push_str(
        "<h4>Answers</h4>\n<div class=\"wide\"><table>\n<thead><tr><th>code</th><th>body</th><th>what it means</th></tr></thead>\n<tbody>\n",
    );
    let mut failures = Vec::new();
    for (code, answer) in told["responses"].as_object().into_iter().flatten() {
        if answer["$ref"].is_string() {
            failures.push(format!("<a href=\"#error-{0}\"><code>{0}</code></a>", escaped(code)));
            continue;
        }
        let of = |(media, content): (&String, &Value)| match media.as_str() {
            "application/json" => kind(&content["schema"]),
            media => format!("<code>{}</code>", escaped(media)),
        };
        let bodies: Vec<_> = answer["content"].as_object().into_iter().flatten().map(of).collect();
        let _ = writeln!(
            page,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}{}</td></tr>",
            escaped(code),
            if bodies.is_empty() { "none".to_owned() } else { bodies.join(", ") },
            prose(answer["description"].as_str().unwrap_or_default()),
            headers(answer),
        );
    }
    if !failures.is_empty() {
        let _ = writeln!(page, "<tr><td colspan=\"3\" class=\"failures\">Errors: {}</td></tr>", failures.join(" "));
    }
    page.push_str("</tbody></table></div>\n");
}

/// The headers of an answer besides that of every one.
fn headers(answer: &Value) -> String {
    let mut text = String::new();
    for (name, header) in answer["headers"].as_object().into_iter().flatten().filter(|(name, _)| *name != "X-Request-Id") {
        let what = prose(header["description"].as_str().unwrap_or_default());
        let _ = write!(text, "<br><code>{}</code>: {what}", escaped(name));
    }
    text
}

fn example(page: &mut String, operation: &Operation<'_>, exchanges: &[Exchange]) {
    page.push_str("<h4>Example</h4>\n");
    let shown = best(exchanges, &operation.method, operation.path);
    let asked = shown.map_or_else(|| plain_curl(operation), curl);
    let _ = writeln!(page, "<pre tabindex=\"0\"><code>{}</code></pre>", escaped(&asked));
    if let Some(line) = line(&operation.method, operation.path) {
        let _ = writeln!(page, "<p>The same by the command line:</p>\n<pre tabindex=\"0\"><code>{}</code></pre>", escaped(line));
    }
    if let Some(exchange) = shown {
        answered(page, exchange);
    }
}

/// How an operation is asked for that no test shows.
fn plain_curl(operation: &Operation<'_>) -> String {
    let path = operation.path.replace("/v1beta/{tenant}", "$BERTH").replace("{id}", "$ID");
    let path = if path.starts_with('$') { path } else { format!("${{BERTH%/v1beta/*}}{path}") };
    let method = if operation.method == "GET" { String::new() } else { format!("-X {} ", operation.method) };
    format!("curl -s {method}\"{path}\"")
}

/// An exchange: how `curl` asks for it, and what was answered.
fn show(page: &mut String, exchange: &Exchange) {
    let _ = writeln!(page, "<pre tabindex=\"0\"><code>{}</code></pre>", escaped(&curl(exchange)));
    answered(page, exchange);
}

fn answered(page: &mut String, exchange: &Exchange) {
    let answer = with_values(exchange.answer.trim_end());
    let _ = writeln!(
        page,
        "<details class=\"example\"><summary>Answer: {}</summary>\n<pre tabindex=\"0\"><code>{}</code></pre></details>",
        exchange.code,
        escaped(if answer.is_empty() { "no body" } else { &answer })
    );
}

/// The line for a shell.
fn curl(exchange: &Exchange) -> String {
    let mut line = String::from("curl -s");
    if exchange.method != "GET" {
        let _ = write!(line, " -X {}", exchange.method);
    }
    let path = with_values(exchange.path);
    let address = match path.strip_prefix("//") {
        Some(rest) => format!("${{BERTH%/v1beta/*}}/{rest}"),
        None => format!("$BERTH{path}"),
    };
    let _ = write!(line, " \"{address}\"");
    for header in &exchange.headers {
        let _ = write!(line, " \\\n  -H {}", quoted(header));
    }
    if !exchange.body.is_empty() && exchange.body != "null" {
        let _ = write!(line, " \\\n  -H 'Content-Type: application/json' \\\n  -d {}", quoted(&with_values(exchange.body)));
    }
    line
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn schemas(page: &mut String, document: &Value) {
    page.push_str("<section class=\"chapter\" id=\"bodies\">\n<h2>Bodies</h2>\n");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let name = escaped(name);
        let _ = write!(
            page,
            "<article id=\"body-{name}\">\n<h3><a class=\"self\" href=\"#body-{name}\"><code>{name}</code></a></h3>\n"
        );
        if let Some(about) = schema["description"].as_str() {
            let _ = writeln!(page, "<p>{}</p>", sentence(about));
        }
        if schema["properties"].is_object() {
            fields(page, document, schema, 0);
        } else {
            let kind = kind(schema);
            let _ = writeln!(page, "<p>{}</p>", if kind.is_empty() { "object" } else { &kind });
        }
        page.push_str("</article>\n");
    }
    page.push_str("</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn values<'a>(page: &'a str, key: &str) -> Vec<&'a str> {
        page.split(&format!(" {key}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_operation_and_body_is_told_once_and_every_link_leads_somewhere() {
        let document = crate::openapi();
        let page = page(&document);
        let ids = values(&page, "id");
        let known: BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(ids.len(), known.len(), "an anchor stands twice");
        for link in values(&page, "href").into_iter().filter_map(|link| link.strip_prefix('#')) {
            assert!(known.contains(link), "#{link} leads nowhere");
        }
        let methods = document["paths"].as_object().expect("paths").values().map(|item| item.as_object().expect("methods").len());
        assert_eq!(page.matches("<article id=\"").count() - page.matches("<article id=\"body-").count(), methods.sum::<usize>());
        for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
            assert!(known.contains(format!("body-{name}").as_str()), "{name}");
        }
    }

    #[test]
    fn it_asks_for_nothing_from_elsewhere_and_has_nothing_that_its_policy_forbids() {
        let page = page(&crate::openapi());
        for link in [values(&page, "href"), values(&page, "src")].concat() {
            assert!(link.starts_with('#') || link.starts_with('/') && !link.starts_with("//"), "{link}");
        }
        for forbidden in ["<script", "<style", " style=", " onclick=", "javascript:"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn what_the_document_says_cannot_become_markup() {
        let evil = "<img src=x onerror=alert(1)>\"'&";
        let document = json!({
            "info": {"version": evil, "summary": evil, "description": evil},
            "paths": {"/v1beta/{tenant}/block/volumes": {"get": {"summary": evil, "parameters": [
                {"name": evil, "in": evil, "description": evil, "schema": {"enum": [evil]}}],
                "responses": {"200": {"description": evil, "content": {evil: {}}, "headers": {evil: {"description": evil}}}}}}},
            "components": {"responses": {"400": {"description": evil}}, "schemas": {"Thing": {"type": "object", "description": evil,
                "properties": {evil: {"type": evil, "description": evil}}}}},
        });
        assert!(!page(&document).contains("<img src=x"));
    }

    #[test]
    fn a_line_for_a_shell_is_quoted() {
        let exchange = Exchange {
            method: "PUT",
            path: "/block/volumes/id-1",
            headers: vec!["if-match: \"7\""],
            body: "{\"name\": \"it's\"}",
            code: 200,
            answer: "",
        };
        let wanted = "curl -s -X PUT \"$BERTH/block/volumes/5f1c7a10-2b64-4d0e-9a3b-000000000001\" \\\n  -H 'if-match: \"7\"' \\\n  \
                      -H 'Content-Type: application/json' \\\n  -d '{\"name\": \"it'\\''s\"}'";
        assert_eq!(curl(&exchange), wanted);
    }
}
