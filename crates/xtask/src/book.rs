//! Whether the book and the pages beside it hold together: links that lead somewhere,
//! pages that are listed. CI has no mdBook, and mdBook does not check links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::command::{git_output, say};

/// The pages of the book.
const SOURCE: &str = "docs/book/src";

/// What a page links to, and what may be linked to in it.
struct Page {
    links: Vec<String>,
    anchors: Vec<String>,
    /// What a browser takes for HTML, so that a reader does not see it.
    tags: Vec<String>,
}

/// Fails if a link is dead or a page is missing in SUMMARY.md.
pub(crate) fn check() -> Result<()> {
    let pages = pages()?;
    let problems = problems(Path::new(""), &pages)?;
    if !problems.is_empty() {
        bail!("the book is broken:\n  {}", problems.join("\n  "));
    }
    say(&format!(
        "the links of {} pages lead somewhere",
        pages.len()
    ));
    Ok(())
}

/// Every page of the repository, new ones too.
fn pages() -> Result<Vec<PathBuf>> {
    let all = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.md",
    ];
    let list = git_output(&all)?;
    let paths = list
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    // One that was removed stays listed until that is committed.
    Ok(paths.filter(|path| path.is_file()).collect())
}

/// What is wrong with these pages, whose paths are relative to `root`.
fn problems(root: &Path, pages: &[PathBuf]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in pages {
        let text = fs::read_to_string(root.join(path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let parsed = Page::parse(&text);
        if path.starts_with(SOURCE) {
            let hides =
                |tag: &String| format!("{}: hides {tag}, a tag of HTML", path.display());
            problems.extend(parsed.tags.iter().map(hides));
        }
        for link in parsed.links {
            if let Some(problem) = dead(root, path, &link)? {
                problems.push(format!("{}: {link} {problem}", path.display()));
            }
        }
    }
    problems.extend(unlisted(root, pages)?);
    Ok(problems)
}

/// Why a link of a page leads nowhere, if it does.
fn dead(root: &Path, page: &Path, link: &str) -> Result<Option<String>> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.to_path_buf(),
        file => normal(&page.with_file_name("").join(file)),
    };
    if !root.join(&target).exists() {
        return Ok(Some("leads nowhere".to_string()));
    }
    if page.starts_with(SOURCE) && !target.starts_with(SOURCE) {
        return Ok(Some(
            "leaves the book, where readers cannot follow".to_string(),
        ));
    }
    if anchor.is_empty() || target.extension().is_none_or(|end| end != "md") {
        return Ok(None);
    }
    let text = fs::read_to_string(root.join(&target))
        .with_context(|| format!("cannot read {}", target.display()))?;
    let anchors = Page::parse(&text).anchors;
    let found = anchors.iter().any(|known| known == anchor);
    Ok((!found).then(|| format!("names no heading of {}", target.display())))
}

/// Pages that the table of contents does not have once.
fn unlisted(root: &Path, pages: &[PathBuf]) -> Result<Vec<String>> {
    let summary = Path::new(SOURCE).join("SUMMARY.md");
    let text = fs::read_to_string(root.join(&summary))
        .with_context(|| format!("cannot read {}", summary.display()))?;
    let listed: Vec<PathBuf> = Page::parse(&text)
        .links
        .iter()
        .map(|link| normal(&Path::new(SOURCE).join(link)))
        .collect();
    let unique: BTreeSet<&PathBuf> = listed.iter().collect();
    let mut problems: Vec<String> = pages
        .iter()
        .filter(|page| page.starts_with(SOURCE) && **page != summary)
        .filter(|page| !unique.contains(page))
        .map(|page| format!("{}: not in SUMMARY.md", page.display()))
        .collect();
    if unique.len() < listed.len() {
        problems.push(format!("{}: lists a page twice", summary.display()));
    }
    Ok(problems)
}

/// The path without `.` and `..`, which need not exist.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self {
            links: Vec::new(),
            anchors: Vec::new(),
            tags: Vec::new(),
        };
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(
                    Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. },
                ) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = page.anchor(&heading.take().unwrap_or_default());
                    page.anchors.push(anchor);
                }
                Event::Html(tag) | Event::InlineHtml(tag) => {
                    page.tags.push(tag.trim().to_string());
                }
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// What mdBook, and GitHub too, call a heading in links.
    fn anchor(&self, heading: &str) -> String {
        let anchor: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
                _ => None,
            })
            .collect();
        let numbered = |n: &usize| match n {
            0 => anchor.clone(),
            n => format!("{anchor}-{n}"),
        };
        let mut names = (0..).map(|n| numbered(&n));
        names
            .find(|name| !self.anchors.contains(name))
            .unwrap_or(anchor.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems of a book with these pages; the first is its table of contents.
    fn check(pages: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = pages.iter().map(|(path, _)| path.into()).collect();
        for (path, text) in pages {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        problems(folder.path(), &paths).unwrap()
    }

    const SUMMARY: (&str, &str) = ("docs/book/src/SUMMARY.md", "- [A](how/a.md)\n");

    #[test]
    fn links_to_pages_and_headings_live() {
        let a = "# A\n\n[b](../b.md#two-words) [c](#a) [web](https://example.org/x.md)\n";
        let b = "# Two `words`!\n\n[up](how/a.md)\n";
        let summary = "- [A](how/a.md)\n- [B](b.md)\n";
        let pages = [
            ("docs/book/src/SUMMARY.md", summary),
            ("docs/book/src/how/a.md", a),
            ("docs/book/src/b.md", b),
            ("README.md", "[a](docs/book/src/how/a.md#a)"),
        ];
        assert_eq!(check(&pages), [""; 0]);
    }

    #[test]
    fn a_dead_link_is_found() {
        let page = ("docs/book/src/how/a.md", "[x](b.md) ![y](c.png) [z](#nope)");
        let problems = check(&[SUMMARY, page]);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(problems[0], "docs/book/src/how/a.md: b.md leads nowhere");
        assert_eq!(
            problems[2],
            "docs/book/src/how/a.md: #nope names no heading of docs/book/src/how/a.md"
        );
    }

    #[test]
    fn a_link_in_a_block_of_code_is_none() {
        let page = (
            "docs/book/src/how/a.md",
            "```sql\nSELECT a[1](b)\n```\n`[x](y)`",
        );
        assert_eq!(check(&[SUMMARY, page]), [""; 0]);
    }

    #[test]
    fn a_book_page_must_not_link_out_of_the_book() {
        let page = ("docs/book/src/how/a.md", "[readme](../../../../README.md)");
        let problems = check(&[SUMMARY, page, ("README.md", "")]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("leaves the book"), "{problems:?}");
    }

    #[test]
    fn a_page_must_be_listed_once() {
        let a = ("docs/book/src/how/a.md", "");
        let b = ("docs/book/src/b.md", "");
        assert_eq!(
            check(&[SUMMARY, a, b]),
            ["docs/book/src/b.md: not in SUMMARY.md"]
        );
        let summary = (SUMMARY.0, "- [A](how/a.md)\n- [A again](how/a.md)\n");
        assert_eq!(
            check(&[summary, a]),
            ["docs/book/src/SUMMARY.md: lists a page twice"]
        );
    }

    #[test]
    fn a_type_that_becomes_a_tag_is_found() {
        let page = (
            "docs/book/src/how/a.md",
            "a LIST<INT>, a LIST\\<INT>, `LIST<INT>`",
        );
        assert_eq!(
            check(&[SUMMARY, page]),
            ["docs/book/src/how/a.md: hides <INT>, a tag of HTML"]
        );
    }

    #[test]
    fn equal_headings_are_numbered() {
        let page = Page::parse("# A b\n\n## A b\n\n## A b\n");
        assert_eq!(page.anchors, ["a-b", "a-b-1", "a-b-2"]);
    }
}
