//! `[block_page]`: what a browser is shown where plain HTTP is blocked.
//!
//! The kernel sends the response by itself, so each is made here, whole, when a policy is loaded: one for
//! each category a group blocks. It names the category and the rule, which is the group that blocks it,
//! and the policy's version; never the list a name was found in, and not the name.

use std::fmt::Write as _;

use sensor_ebpf::abi::{PAGE_MAX, Page, UNLISTED};
use serde::Deserialize;
use toml::Spanned;

use super::category::{Categories, LOCAL_BLOCK, LOCAL_BLOCK_ID, UNLISTED_ID};
use super::error::{Fault, PolicyError, shown};
use super::group::{Group, Groups};
use super::source::Source;
use super::{GroupId, Policy};

/// Bytes of a contact line: a sentence with a name, a number and an address.
pub(crate) const CONTACT_BYTES_MAX: usize = 200;

/// Bytes of a portal's URL: with three parameters behind it the response still fits.
pub(crate) const PORTAL_BYTES_MAX: usize = 400;

/// Characters of a category's title that are shown: titles are a few words.
const TITLE_CHARACTERS_MAX: usize = 60;

/// Who can help, where the policy does not say.
const NOBODY_NAMED: &str = "Ask the people who run this network.";

/// The table as it is written. What it leaves out has its default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawBlockPage {
    #[serde(default)]
    answer: RawAnswer,
    portal: Option<Spanned<String>>,
    contact: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAnswer {
    #[default]
    Page,
    Redirect,
    Reset,
}

/// What the client of a blocked request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A page that says why, and whom to ask.
    Page { contact: String },
    /// The way to a portal.
    Redirect { portal: String },
    /// The reset any other connection gets.
    Reset,
}

impl Answer {
    /// Checks the table.
    pub(crate) fn read(
        source: &Source,
        raw: Option<&Spanned<RawBlockPage>>,
    ) -> Result<Self, PolicyError> {
        let Some(table) = raw else {
            return Ok(Self::Page { contact: NOBODY_NAMED.to_owned() });
        };
        let RawBlockPage { answer, portal, contact } = table.get_ref();
        let unused = |text: &Spanned<String>, fault| Err(source.fail(&text.span(), fault));
        match (answer, portal, contact) {
            (RawAnswer::Page | RawAnswer::Reset, Some(portal), _) => {
                unused(portal, Fault::PortalUnused)
            }
            (RawAnswer::Redirect | RawAnswer::Reset, _, Some(contact)) => {
                unused(contact, Fault::ContactUnused)
            }
            (RawAnswer::Page, None, None) => Ok(Self::Page { contact: NOBODY_NAMED.to_owned() }),
            (RawAnswer::Page, None, Some(contact)) => {
                let text = contact.get_ref();
                let is_line = !text.trim().is_empty() && !text.chars().any(char::is_control);
                if !is_line || text.len() > CONTACT_BYTES_MAX {
                    return unused(contact, Fault::Contact);
                }
                Ok(Self::Page { contact: text.clone() })
            }
            (RawAnswer::Redirect, None, None) => Err(source.fail(&table.span(), Fault::NoPortal)),
            (RawAnswer::Redirect, Some(portal), None) if is_portal(portal.get_ref()) => {
                Ok(Self::Redirect { portal: portal.get_ref().clone() })
            }
            (RawAnswer::Redirect, Some(portal), None) => {
                unused(portal, Fault::Portal(shown(portal.get_ref())))
            }
            (RawAnswer::Reset, None, None) => Ok(Self::Reset),
        }
    }

    /// Every response there can be, by group and category.
    fn responses(
        &self,
        version: &str,
        categories: &Categories,
        groups: &Groups,
    ) -> Result<Vec<(GroupId, u8, Page)>, usize> {
        let mut pages = Vec::new();
        for (id, group) in groups.iter() {
            for bit in (0..64_u8).filter(|bit| group.ever_blocked() >> bit & 1 == 1) {
                let Some(response) = self.response(&Why::new(version, categories, group, bit))
                else {
                    continue;
                };
                let Response { head, body } = response;
                let page = Page::new(head.as_bytes(), body.as_bytes());
                pages.push((id, bit, page.ok_or(head.len() + body.len())?));
            }
        }
        Ok(pages)
    }

    fn response(&self, why: &Why<'_>) -> Option<Response> {
        match self {
            Self::Page { contact } => Some(Response::page(why, contact)),
            Self::Redirect { portal } => Some(Response::redirect(why, portal)),
            Self::Reset => None,
        }
    }
}

/// Refuses a policy with a response that does not fit.
pub(crate) fn check(
    source: &Source,
    raw: Option<&Spanned<RawBlockPage>>,
    answer: &Answer,
    version: &str,
    categories: &Categories,
    groups: &Groups,
) -> Result<(), PolicyError> {
    let Err(bytes) = answer.responses(version, categories, groups) else { return Ok(()) };
    let fault = Fault::PageTooLong { bytes, max: PAGE_MAX };
    Err(match raw {
        Some(table) => source.fail(&table.span(), fault),
        None => PolicyError::of_file(&source.path, fault),
    })
}

impl Policy {
    /// What the kernel sends in place of a reset where plain HTTP is blocked: for each group and number
    /// of a category's bit.
    pub fn block_pages(&self) -> Vec<(GroupId, u8, Page)> {
        let pages = self.answer.responses(&self.version, &self.categories, &self.groups);
        // Loading refused a policy with one that does not fit.
        pages.unwrap_or_default()
    }
}

/// What a response says.
struct Why<'policy> {
    version: &'policy str,
    category: &'policy str,
    title: &'policy str,
    group: &'policy str,
}

impl<'policy> Why<'policy> {
    fn new(
        version: &'policy str,
        categories: &'policy Categories,
        group: &'policy Group,
        bit: u8,
    ) -> Self {
        let mask = 1 << bit;
        let known = categories.iter().find(|category| category.bit == mask);
        let (category, title) = match known {
            Some(category) if category.title.trim().is_empty() => (&*category.id, &*category.id),
            Some(category) => (&*category.id, &*category.title),
            None if mask == UNLISTED => (UNLISTED_ID, "Not on a list of allowed sites"),
            None => {
                debug_assert_eq!(mask, LOCAL_BLOCK);
                (LOCAL_BLOCK_ID, "Blocked by this site")
            }
        };
        Self { version, category, title, group: &group.name }
    }

    /// Names the line of the policy that blocks: the group, and what it blocks.
    fn rule(&self) -> String {
        format!("{}/{}", self.group, self.category)
    }
}

struct Response {
    head: String,
    body: String,
}

impl Response {
    fn page(why: &Why<'_>, contact: &str) -> Self {
        let title = if why.title.chars().count() > TITLE_CHARACTERS_MAX {
            let start: String = why.title.chars().take(TITLE_CHARACTERS_MAX).collect();
            escape(&start) + "…"
        } else {
            escape(why.title)
        };
        let (rule, version, contact) = (why.rule(), escape(why.version), escape(contact));
        let body = format!(
            "<!doctype html><html lang=en><meta charset=utf-8>\
             <meta name=viewport content=\"width=device-width\"><title>Page blocked</title>\
             <style>:root{{color-scheme:light dark;font:1.1em/1.5 sans-serif}}\
             body{{max-width:34em;margin:3em auto;padding:0 1em}}dt{{font-weight:bold}}</style>\
             <main><h1>This page is blocked</h1>\
             <p>The policy of this network does not allow this site.\
             <dl><dt>Category<dd>{title}<dt>Rule<dd>{rule}<dt>Policy<dd>{version}</dl>\
             <h2>Is this a mistake?</h2><p>{contact}</main>\n"
        );
        let head = head("403 Forbidden", "Content-Type: text/html; charset=utf-8", body.len());
        Self { head, body }
    }

    fn redirect(why: &Why<'_>, portal: &str) -> Self {
        let joint = if portal.contains('?') { '&' } else { '?' };
        let (category, rule) = (percent_encode(why.category), percent_encode(&why.rule()));
        let version = percent_encode(why.version);
        let location =
            format!("Location: {portal}{joint}category={category}&rule={rule}&policy={version}");
        Self { head: head("302 Found", &location, 0), body: String::new() }
    }
}

fn head(status: &str, field: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{field}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n"
    )
}

/// An absolute URL of HTTP that can be written into a header field with a query behind it.
fn is_portal(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_part =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\');
    let has_host =
        rest.is_some_and(|rest| rest.starts_with(|first: char| first != '/' && first != '?'));
    has_host && text.len() <= PORTAL_BYTES_MAX && text.bytes().all(is_part)
}

/// A text as HTML shows it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A value of a query: all but unreserved characters are encoded (RFC 3986 section 2).
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_error, load};
    use super::*;

    /// The responses for students, by category.
    fn pages(table: &str, title: &str) -> Vec<(u8, String)> {
        let text = format!(
            "version = \"a&b\"\ndefault_group = \"student\"\n{table}\n\
             [[category]]\nid = \"drugs\"\ntitle = {title:?}\ncovers = \"\"\n\
             [[group]]\nname = \"student\"\nblock = [\"drugs\"]\n"
        );
        let policy = load(&[("policy.toml", &text)]).unwrap();
        let student = policy.group_named("student").unwrap();
        let pages = policy.block_pages().into_iter();
        let text = |page: &Page| String::from_utf8(page.as_bytes().to_vec()).unwrap();
        pages.filter(|(id, ..)| *id == student).map(|(_, bit, page)| (bit, text(&page))).collect()
    }

    #[test]
    fn a_page_says_why_and_whom_to_ask() {
        let table = "[block_page]\ncontact = \"Room 1, <it@college.example>\"";
        let pages = pages(table, "Drugs & \"legal highs\"");
        let bits: Vec<_> = pages.iter().map(|(bit, _)| *bit).collect();
        assert_eq!(bits, [0, 62]);
        let (head, body) = pages[0].1.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html; charset=utf-8\r\n\
                 Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close",
                body.len()
            )
        );
        for part in [
            "<dd>Drugs &amp; &quot;legal highs&quot;<dt>",
            "<dd>student/drugs<dt>",
            "<dd>a&amp;b</dl>",
            "<p>Room 1, &lt;it@college.example&gt;</main>",
        ] {
            assert!(body.contains(part), "no {part} in {body}");
        }
        assert!(pages[1].1.contains("<dd>student/local-block<dt>"), "{}", pages[1].1);
    }

    #[test]
    fn a_redirect_names_category_and_rule() {
        let table = "[block_page]\nanswer = \"redirect\"\nportal = \"http://portal.example/b?x=1\"";
        assert_eq!(
            pages(table, "Drugs")[0].1,
            "HTTP/1.1 302 Found\r\n\
             Location: http://portal.example/b?x=1&category=drugs&rule=student%2Fdrugs&policy=a%26b\r\n\
             Content-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn no_page_where_the_policy_wants_resets() {
        assert_eq!(pages("[block_page]\nanswer = \"reset\"", "Drugs"), []);
    }

    #[test]
    fn long_titles_are_cut_and_any_title_fits() {
        let text = &pages("", &"\"".repeat(100))[0].1;
        assert!(text.contains(&format!("<dd>{}…<dt>", "&quot;".repeat(60))), "{text}");
        assert!(text.contains("Ask the people who run this network."));
    }

    #[test]
    fn faults_of_block_pages() {
        let group = "\n[[group]]\nname = \"staff\"";
        for (table, expected) in [
            (
                "[block_page]\nanswer = \"redirect\"",
                "policy.toml:3: answer `redirect` has no portal: write portal = \"https://…\"",
            ),
            (
                "[block_page]\nportal = \"http://a.example/\"",
                "policy.toml:4: a portal is given and not used: write answer = \"redirect\"",
            ),
            (
                "[block_page]\nanswer = \"reset\"\ncontact = \"me\"",
                "policy.toml:5: a contact is given and not shown: write answer = \"page\"",
            ),
            (
                "[block_page]\nanswer = \"redirect\"\nportal = \"portal.example\"",
                "policy.toml:5: `portal.example` is no portal: write an absolute URL, http or https, \
                    of at most 400 bytes, without spaces, quotes and fragment",
            ),
            (
                "[block_page]\ncontact = \"\"",
                "policy.toml:4: a contact is one line of 1 to 200 bytes: say whom to ask",
            ),
        ] {
            check_error(&format!("{table}{group}"), expected);
        }
        let contact = "&".repeat(200);
        check_error(
            &format!("[block_page]\ncontact = \"{contact}\"{group}"),
            "policy.toml:3: a block page has 1617 bytes, and 1200 fit one packet: \
                shorten `contact`, `portal` or the longest title",
        );
    }
}
