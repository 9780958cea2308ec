//! What is shown beside an operation: an exchange that the tests hold, as `curl` asks for it, and what the command line says for it.

/// Exchanges of the tests (`tests/golden`), told as they are: the earlier ones are shown where several would do.
const EXCHANGES: &[&str] = &[
    include_str!("../../testdata/volumes.txt"),
    include_str!("../../testdata/snapshots.txt"),
    include_str!("../../testdata/attachments.txt"),
    include_str!("../../testdata/hosts-and-profiles.txt"),
    include_str!("../../testdata/pools-and-the-rest.txt"),
    include_str!("../../testdata/diagnosis.txt"),
    include_str!("../../testdata/failed-volumes.txt"),
    include_str!("../../testdata/errors.txt"),
];

/// One exchange.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) method: &'static str,
    /// Below the tenant, or whole with another slash before it, with its query.
    pub(super) path: &'static str,
    /// Headers that were given, as `name: value`.
    pub(super) headers: Vec<&'static str>,
    pub(super) body: &'static str,
    pub(super) code: u16,
    pub(super) answer: &'static str,
}

/// Every exchange that may be shown.
pub(super) fn exchanges() -> Vec<Exchange> {
    EXCHANGES.iter().flat_map(|file| file.split("\n\n")).filter_map(exchange).collect()
}

fn exchange(told: &'static str) -> Option<Exchange> {
    let (asked, answered) = told.trim_start().split_once('\n')?;
    let (method, rest) = asked.split_once(' ')?;
    let (path, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut headers = Vec::new();
    while let Some((header, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        headers.push(header);
        rest = after.trim_start();
    }
    let (code, answer) = answered.split_once('\n').unwrap_or((answered, ""));
    // Behind it may stand how a long poll ended.
    let code = code.split(' ').next()?.trim().parse().ok()?;
    Some(Exchange { method, path, headers, body: rest, code, answer })
}

/// The exchange that shows an operation best: one that succeeded, the plainest.
pub(super) fn best<'a>(all: &'a [Exchange], method: &str, template: &str) -> Option<&'a Exchange> {
    let is_its = |exchange: &&Exchange| exchange.method.eq_ignore_ascii_case(method) && fits(exchange.path, template);
    let is_good = |exchange: &&Exchange| (200..300).contains(&exchange.code);
    let plain = |exchange: &&Exchange| (exchange.path.contains('?'), exchange.answer == "[]", exchange.headers.len());
    all.iter().filter(is_its).filter(is_good).min_by_key(plain)
}

/// Whether a path is of this template.
fn fits(path: &str, template: &str) -> bool {
    let full = match path.strip_prefix("//") {
        Some(rest) => format!("/{rest}"),
        None => format!("/v1beta/{{tenant}}{path}"),
    };
    let path = full.split('?').next().unwrap_or_default();
    let (path, template): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
    let same = |(part, wanted): (&&str, &&str)| part == wanted || (wanted.starts_with('{') && !part.is_empty());
    path.len() == template.len() && path.iter().zip(&template).all(same)
}

/// Text of an exchange with values where the tests keep only what kind of value there was.
pub(super) fn with_values(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.replace("TIME", "2026-11-28T12:00:00Z").split("id-").map(str::to_owned).collect::<Vec<_>>().into_iter();
    out.push_str(&parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[..digits].parse::<u64>() {
            // A number of the tests, and no word that ends like one, such as `grid-2`.
            Ok(number) if !out.ends_with(|letter: char| letter.is_ascii_alphanumeric()) => {
                out.push_str(&format!("5f1c7a10-2b64-4d0e-9a3b-{number:012}{}", &part[digits..]));
            }
            _ => {
                out.push_str("id-");
                out.push_str(&part);
            }
        }
    }
    out
}

/// What the command line says for an operation: method, path below the tenant, line.
const LINES: &[(&str, &str, &str)] = &[
    ("GET", "/block/volumes", "berth volume list --status available"),
    ("POST", "/block/volumes", "berth volume create data --size 10 --wait"),
    ("GET", "/block/volumes/{id}", "berth volume show data"),
    ("PUT", "/block/volumes/{id}", "berth volume update data --description words"),
    ("DELETE", "/block/volumes/{id}", "berth volume delete data --cascade --wait"),
    ("POST", "/block/volumes/{id}/resize", "berth volume extend data --size 20 --wait"),
    ("POST", "/block/volumes/{id}/retry", "berth volume retry data --wait"),
    ("POST", "/block/volumes/{id}/recover", "berth volume recover data --wait"),
    ("GET", "/block/volumes/{id}/journal", "berth volume journal data"),
    ("GET", "/block/snapshots", "berth snapshot list --volume data"),
    ("POST", "/block/snapshots", "berth snapshot create data --name nightly --wait"),
    ("GET", "/block/snapshots/{id}", "berth snapshot show nightly"),
    ("PUT", "/block/snapshots/{id}", "berth snapshot update nightly --description words"),
    ("DELETE", "/block/snapshots/{id}", "berth snapshot delete nightly --wait"),
    ("POST", "/block/snapshots/{id}/retry", "berth snapshot retry nightly --wait"),
    ("POST", "/block/snapshots/{id}/recover", "berth snapshot recover nightly --wait"),
    ("GET", "/block/snapshots/{id}/journal", "berth snapshot journal nightly"),
    ("GET", "/block/attachments", "berth attachment list --volume data"),
    ("POST", "/block/attachments", "berth attach data --host db-1 --wait"),
    ("GET", "/block/attachments/{id}", "berth attachment show $ID"),
    ("DELETE", "/block/attachments/{id}", "berth detach $ID --wait"),
    ("POST", "/block/attachments/{id}/retry", "berth attachment retry $ID --wait"),
    ("POST", "/block/attachments/{id}/recover", "berth attachment recover $ID --wait"),
    ("GET", "/block/attachments/{id}/journal", "berth attachment journal $ID"),
    ("GET", "/host/hosts", "berth host list"),
    ("POST", "/host/hosts", "berth host create db-1 --ip 192.0.2.7"),
    ("GET", "/host/hosts/{id}", "berth host show db-1"),
    ("PUT", "/host/hosts/{id}", "berth host update db-1 --ip 192.0.2.8"),
    ("DELETE", "/host/hosts/{id}", "berth host delete db-1"),
    ("GET", "/profiles", "berth profile list"),
    ("POST", "/profiles", "berth profile create fast --property diskType=SSD"),
    ("GET", "/profiles/{id}", "berth profile show fast"),
    ("PUT", "/profiles/{id}", "berth profile update fast --description words"),
    ("DELETE", "/profiles/{id}", "berth profile delete fast"),
    ("GET", "/pools", "berth pool list"),
    ("GET", "/pools/{id}", "berth pool show default"),
    ("DELETE", "/pools/{id}/objects/{name}", "berth pool remove-object default $OBJECT --yes"),
    ("GET", "/doctor", "berth doctor"),
    ("POST", "/doctor/look", "berth doctor --look"),
];

/// Every line of the command line that the page shows: `berth` holds them to what it takes.
pub fn command_lines() -> impl Iterator<Item = &'static str> {
    LINES.iter().map(|(_, _, line)| *line)
}

/// The line for an operation.
pub(super) fn line(method: &str, template: &str) -> Option<&'static str> {
    let below = template.strip_prefix("/v1beta/{tenant}")?;
    let is_its = |(of, path, _): &&(&str, &str, &str)| of.eq_ignore_ascii_case(method) && *path == below;
    LINES.iter().find(is_its).map(|(_, _, line)| *line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_of_an_operation() {
        let document = crate::openapi();
        for (method, path, line) in LINES {
            let operation = &document["paths"][format!("/v1beta/{{tenant}}{path}")][method.to_lowercase()];
            assert!(operation.is_object(), "{line}: there is no {method} {path}");
        }
    }

    #[test]
    fn most_operations_have_an_exchange() {
        let (document, all) = (crate::openapi(), exchanges());
        let mut missing = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for method in item.as_object().expect("methods").keys().filter(|method| best(&all, method, path).is_none()) {
                missing.push(format!("{method} {path}"));
            }
        }
        assert!(missing.len() <= 20, "{missing:#?}");
    }

    #[test]
    fn an_exchange_is_read_as_it_is_told() {
        let told = "GET /block/volumes/id-1?waitFor=error [if-match: \"7\"] {\"a\": 1}\n409\n{\n  \"b\": \"TIME\"\n}";
        let read = exchange(told).expect("an exchange");
        assert_eq!((read.method, read.path, read.code), ("GET", "/block/volumes/id-1?waitFor=error", 409));
        assert_eq!((read.headers, read.body, read.answer), (vec!["if-match: \"7\""], "{\"a\": 1}", "{\n  \"b\": \"TIME\"\n}"));
        assert!(fits(read.path, "/v1beta/{tenant}/block/volumes/{id}") && !fits(read.path, "/v1beta/{tenant}/block/volumes"));
        assert_eq!(with_values("\"id-12\" TIME grid-2"), "\"5f1c7a10-2b64-4d0e-9a3b-000000000012\" 2026-11-28T12:00:00Z grid-2");
    }
}
