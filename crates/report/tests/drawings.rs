//! Every chart on paper, on a screen and in a terminal, of studies that are odd.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests fail by panicking, as tests do"
)]

mod support;

use atoll_report::{About, Error, Kind, Study, Subject, chart, page, png, svg, terminal};
use support::{digits, empty, failures, hostile, labelled, one, random, searched, texts};

fn subjects() -> Vec<(&'static str, Subject)> {
    vec![
        ("digits", Subject::Study(digits())),
        ("random", Subject::Study(random(500))),
        ("searched", Subject::Study(searched())),
        ("failures", Subject::Study(failures())),
        ("one", Subject::Study(one())),
        ("empty", Subject::Study(empty())),
        ("texts", Subject::Study(texts())),
        ("hostile", Subject::Study(hostile())),
        ("labels", Subject::Labels(labelled())),
        ("no labels", Subject::Labels(Default::default())),
    ]
}

fn charts() -> Vec<(String, atoll_report::Chart)> {
    let mut charts = Vec::new();
    for (name, subject) in subjects() {
        for kind in Kind::of(&subject) {
            match chart(&subject, *kind) {
                Ok(chart) => charts.push((format!("{name} {kind}"), chart)),
                Err(Error::Missing { reason, .. }) => {
                    assert!(!reason.is_empty(), "{name}")
                }
                Err(error) => panic!("{name} {kind}: {error}"),
            }
        }
    }
    charts
}

#[test]
fn an_ordinary_study_has_every_chart() {
    let subject = Subject::Study(digits());
    // A grid has no pruner, and one objective.
    let of_searches = [Kind::Rungs, Kind::Pareto];
    for kind in Kind::STUDY
        .into_iter()
        .filter(|kind| !of_searches.contains(kind))
    {
        chart(&subject, kind).unwrap();
    }
    let subject = Subject::Study(searched());
    for kind in Kind::STUDY {
        chart(&subject, kind).unwrap();
    }
    let subject = Subject::Labels(labelled());
    for kind in Kind::LABELS {
        chart(&subject, kind).unwrap();
    }
}

#[test]
fn a_chart_of_the_other_kind_says_so() {
    let error = chart(&Subject::Study(digits()), Kind::Scores).unwrap_err();
    assert!(error.to_string().contains("this is a study"), "{error}");
    let error = chart(&Subject::Labels(labelled()), Kind::Curves).unwrap_err();
    assert!(
        error.to_string().contains("these are labelled images"),
        "{error}"
    );
}

#[test]
fn every_chart_has_words_and_numbers() {
    for (name, chart) in charts() {
        assert!(
            !chart.title.is_empty() && !chart.description.is_empty(),
            "{name}"
        );
        assert!(!chart.table.rows.is_empty(), "{name}");
        for row in &chart.table.rows {
            assert_eq!(row.len(), chart.table.head.len(), "{name}: {row:?}");
        }
        let texts = format!("{} {:?}", chart.description, chart.table);
        assert!(!texts.contains("NaN"), "{name}: {texts}");
    }
}

#[test]
fn every_chart_is_valid_svg_without_requests() {
    for (name, chart) in charts() {
        let svg = svg(&chart).unwrap();
        support::check_xml(&svg).unwrap_or_else(|error| panic!("{name}: {error}"));
        let without_namespace = svg.replacen("http://www.w3.org/2000/svg", "", 1);
        for forbidden in ["http", "href", "url(", "<script", "<image", "NaN", "=\"inf"] {
            assert!(
                !without_namespace.contains(forbidden),
                "{name}: {forbidden}"
            );
        }
        assert!(svg.contains("<title") && svg.contains("<desc"), "{name}");
        assert!(svg.contains("prefers-color-scheme"), "{name}");
    }
}

#[test]
fn every_chart_is_a_png_with_ink() {
    // The largest and the smallest, and one of each kind; drawing all takes long.
    let mut seen = Vec::new();
    for (name, chart) in charts() {
        if seen.contains(&chart.kind) {
            continue;
        }
        seen.push(chart.kind);
        let bytes = png(&chart).unwrap();
        let image = atoll_imaging::decode(&bytes, &Default::default()).unwrap();
        assert_eq!(image.width, 1840, "{name}");
        let dark = image.data.iter().filter(|value| **value < 100).count();
        // Letters are dark: without a font hardly anything would be.
        assert!(dark > 3_000, "{name} has {dark} dark values");
    }
}

#[test]
fn every_chart_fits_the_terminal() {
    for (name, chart) in charts() {
        for width in [30, 40, 80, 200] {
            let text = terminal(&chart, width, false).unwrap();
            assert!(!text.contains('\x1b'), "{name}");
            assert!(text.lines().count() >= 2, "{name}: {text}");
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{name} at {width}: {line}");
            }
        }
        assert!(terminal(&chart, 29, false).is_err());
    }
}

#[test]
fn colours_of_the_terminal_can_be_left_out() {
    let chart = chart(&Subject::Study(digits()), Kind::LearningRate).unwrap();
    let colored = terminal(&chart, 80, true).unwrap();
    assert!(colored.contains("\x1b[38;5;"));
    let plain: String = colored
        .split("\x1b[")
        .enumerate()
        .map(|(n, part)| match n {
            0 => part,
            _ => part.split_once('m').unwrap().1,
        })
        .collect();
    assert_eq!(plain, terminal(&chart, 80, false).unwrap());
}

fn check_page(name: &str, html: &str) {
    for forbidden in [
        "<script",
        "javascript:",
        "<iframe",
        "<link rel=\"stylesheet",
        "@import",
    ] {
        assert!(!html.contains(forbidden), "{name}: {forbidden}");
    }
    for attribute in ["src=\"", "href=\"", "xlink:href=\"", "action=\"", "data=\""] {
        for (at, _) in html.match_indices(attribute) {
            let value = &html[at + attribute.len()..];
            assert!(
                value.starts_with('#') || value.starts_with("data:"),
                "{name}: {attribute}{}",
                &value[..value.len().min(60)]
            );
        }
    }
    assert!(!html.contains("url("), "{name}");
    let figures = html.matches("<figure").count();
    assert_eq!(html.matches("<figcaption").count(), figures, "{name}");
    let tables = html.matches("Data of this figure").count();
    assert_eq!(tables, figures, "{name}");
    assert_eq!(html.matches("role=\"img\"").count(), 2 * figures, "{name}");
    for landmark in ["<main", "<header", "<nav", "<h1", "lang=\"en\""] {
        assert_eq!(html.matches(landmark).count(), 1, "{name}: {landmark}");
    }
    for id in html
        .match_indices(" id=\"")
        .map(|(at, text)| html[at + text.len()..].split('"').next().unwrap())
    {
        let own = format!(" id=\"{id}\"");
        assert_eq!(html.matches(&own).count(), 1, "{name}: {id} twice");
    }
    for target in html
        .match_indices("href=\"#")
        .map(|(at, text)| html[at + text.len()..].split('"').next().unwrap())
    {
        let id = format!("id=\"{target}\"");
        assert!(html.contains(&id), "{name}: nothing at #{target}");
    }
    assert!(html.len() < 3_000_000, "{name} has {} bytes", html.len());
}

#[test]
fn pages_ask_for_nothing_and_have_all_they_need() {
    let about = About {
        made_at: "2026-11-24 12:00 UTC".to_string(),
        made_by: "Atoll 0.1.0".to_string(),
    };
    let mut all = Vec::new();
    for (name, subject) in subjects() {
        let html = page(std::slice::from_ref(&subject), &about).unwrap();
        check_page(name, &html);
        all.push(subject);
    }
    check_page("all", &page(&all, &about).unwrap());
}

#[test]
fn hostile_texts_are_only_texts() {
    let html = page(&[Subject::Study(hostile())], &About::default()).unwrap();
    assert!(html.contains("&lt;script&gt;"), "the text itself is shown");
    assert!(!html.contains("<img src=x"));
}

#[test]
fn the_same_study_gives_the_same_page() {
    let make = |study: Study| page(&[Subject::Study(study)], &About::default()).unwrap();
    assert_eq!(make(random(60)), make(random(60)));
}

#[test]
fn many_long_trials_still_fit() {
    let mut study = random(2_000);
    for trial in &mut study.trials {
        let last = trial.history.last().cloned().unwrap_or_default();
        while trial.history.len() < 100 {
            let epoch = trial.history.len() as u32 + 1;
            trial.history.push(atoll_report::Epoch {
                epoch,
                ..last.clone()
            });
        }
    }
    check_page(
        "2,000 trials",
        &page(&[Subject::Study(study)], &About::default()).unwrap(),
    );
}
