//! The page as it is served: what answers where, with which headers; and what others wrote is as it was taken.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::get;
use http_body_util::BodyExt;
use std::path::{Path, PathBuf};
use tower::ServiceExt;

/// The page over an API of two routes.
fn page() -> Router {
    ui::over(Router::new().route("/", get(async || "versions")).route("/v1beta", get(async || "one version")))
}

async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    page().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets")
}

/// Every file below `assets`, by its path from there.
fn files() -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![assets()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(assets()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(assets().join(name)).unwrap()
}

#[tokio::test]
async fn a_browser_gets_the_page_and_a_client_the_versions() {
    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for accept in [BROWSER, "application/json, Text/HTML;q=0.1"] {
        let response = ask("GET", "/", &[("accept", accept)]).await;
        assert_eq!(
            (response.status(), header(&response, "content-type")),
            (StatusCode::OK, "text/html; charset=utf-8"),
            "{accept}"
        );
        assert_eq!(header(&response, "vary"), "accept");
        assert!(text(response).await.starts_with("<!doctype html>"));
    }
    for accept in ["*/*", "application/json", "text/*", "text/html;q=0", "text/html; q=0.0", ""] {
        let response = ask("GET", "/", &[("accept", accept)]).await;
        assert_eq!(header(&response, "vary"), "accept", "a cache must not give it to a browser");
        assert_eq!(text(response).await, "versions", "{accept}");
    }
    assert_eq!(text(ask("GET", "/", &[]).await).await, "versions");
    assert_eq!(text(ask("GET", "/v1beta", &[("accept", BROWSER)]).await).await, "one version");
    assert_eq!(ask("POST", "/", &[("accept", BROWSER)]).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn every_file_is_served_as_what_it_is() {
    for name in files() {
        let response = ask("GET", &format!("/ui/{name}"), &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{name} is in the folder and not in the table");
        let kind = header(&response, "content-type").to_owned();
        let wanted = match name.rsplit('.').next().unwrap() {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" | "mjs" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            "woff2" => "font/woff2",
            _ => "text/plain; charset=utf-8",
        };
        assert_eq!(kind, wanted, "{name}");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes, read(&name), "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_served() {
    for path in
        ["/ui/", "/ui/none.js", "/ui/../src/lib.rs", "/ui/%2e%2e/src/lib.rs", "/ui//index.html", "/ui/vendor", "/ui/vendor/"]
    {
        let response = ask("GET", path, &[]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(header(&response, "content-security-policy").contains("default-src 'self'"));
    }
    let response = ask("DELETE", "/ui/app.js", &[]).await;
    assert_eq!((response.status(), header(&response, "allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
}

#[tokio::test]
async fn what_is_kept_is_not_sent_again() {
    let first = ask("GET", "/ui/app.js", &[]).await;
    let tag = header(&first, "etag").to_owned();
    assert_eq!(header(&first, "cache-control"), "no-cache");
    for given in [tag.clone(), format!("W/{tag}"), format!("\"else\", {tag}"), "*".to_owned()] {
        let again = ask("GET", "/ui/app.js", &[("if-none-match", &given)]).await;
        assert_eq!((again.status(), header(&again, "etag")), (StatusCode::NOT_MODIFIED, tag.as_str()), "{given}");
        assert_eq!(text(again).await, "");
    }
    let other = ask("GET", "/ui/route.js", &[("if-none-match", &tag)]).await;
    assert_eq!(other.status(), StatusCode::OK, "another file's tag");
}

#[tokio::test]
async fn every_answer_forbids_what_the_page_does_not_need() {
    let asked = [("/", "text/html"), ("/ui/app.js", "*/*"), ("/ui/none", "*/*")];
    for (path, accept) in asked {
        let response = ask("GET", path, &[("accept", accept)]).await;
        let policy = header(&response, "content-security-policy");
        for wanted in ["default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"] {
            assert!(policy.contains(wanted), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        assert_eq!(header(&response, "x-frame-options"), "DENY");
        assert_eq!(header(&response, "cross-origin-opener-policy"), "same-origin");
    }
    assert!(ask("GET", "/v1beta", &[]).await.headers().get(header::CONTENT_SECURITY_POLICY).is_none(), "the API answers as ever");
}

/// A browser refuses these under the policy, and says so only in its console.
#[test]
fn the_document_holds_no_script_and_no_style() {
    let page = String::from_utf8(read("index.html")).unwrap();
    for part in page.split("<script").skip(1) {
        assert!(part.trim_start().starts_with("type=\"module\" src=\"/ui/") && part.contains("></script>"), "{part}");
    }
    for forbidden in ["<style", " style=", "javascript:", " onclick", " onload", "http:", "https:"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn nothing_comes_from_elsewhere() {
    for name in files().iter().filter(|name| !name.starts_with("vendor/LICENSE")) {
        let bytes = read(name);
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("sourceMappingURL"), "{name} names a source map");
        let ours = !name.starts_with("vendor/") && !name.ends_with(".svg");
        assert!(!ours || !text.contains("://"), "{name} names another site");
        for import in imports(&text) {
            let is_path = import.starts_with("./");
            assert!(is_path, "{name} imports {import}, which no browser finds without a bundler");
            let folder = Path::new(name).parent().unwrap();
            assert!(assets().join(folder).join(&import).is_file(), "{name} imports {import}, which is not there");
        }
    }
}

/// What a module imports: the text in quotes after `from` or `import`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in ["from", "import"] {
        for (place, _) in text.match_indices(word) {
            let rest = text[place + word.len()..].trim_start_matches(' ');
            let is_statement = text[..place].trim_end_matches(' ').ends_with(['}', ';', '\n', '*']) || place == 0;
            if let Some(quoted) = rest.strip_prefix('"').filter(|_| is_statement) {
                found.push(quoted.split('"').next().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn what_others_wrote_is_as_it_was_taken_and_licensed() {
    let sums = String::from_utf8(read("vendor/SHA256SUMS")).unwrap();
    let listed: Vec<(&str, &str)> = sums.lines().map(|line| line.split_once("  ").unwrap()).collect();
    let there: Vec<String> = files()
        .iter()
        .filter_map(|name| name.strip_prefix("vendor/").map(str::to_owned))
        .filter(|name| name != "SHA256SUMS")
        .collect();
    assert_eq!(listed.iter().map(|(_, name)| *name).collect::<Vec<_>>(), there, "SHA256SUMS lists what is in the folder");
    for (sum, name) in listed {
        let digest = ring::digest::digest(&ring::digest::SHA256, &read(&format!("vendor/{name}")));
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, sum, "{name} was changed: `node crates/ui/vendor.mjs` renews it");
    }
    let licences = there.iter().filter(|name| name.starts_with("LICENSE-")).count();
    assert_eq!(licences, 6, "each package is there with its licence");
}
