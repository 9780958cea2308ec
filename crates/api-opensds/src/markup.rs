//! Text as it may stand in HTML, SVG and XML: whatever it holds, it stays text.

/// Text as it may stand in an element or an attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Text whose words between backticks are code.
pub(crate) fn prose(text: &str) -> String {
    let mut safe = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escaped(part);
        safe.push_str(&if index % 2 == 1 { format!("<code>{part}</code>") } else { part });
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_text_stays_text() {
        assert_eq!(escaped("<a href='x' b=\"y\">&amp;"), "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;amp;");
        assert_eq!(prose("a `<b>` & `c"), "a <code>&lt;b&gt;</code> &amp; <code>c</code>");
    }
}
