//! Reports and plots: what a page shows, and that it asks no one for anything.

use crate::support::Atoll;

/// Six trials of seconds: four that succeed, one that diverges, one that cannot be. Names
/// and values have markup where SQL allows it.
const STUDY: &str = r#"
CREATE TABLE study AS
SELECT
    learning_rate,
    hidden,
    '<script>alert(1)</script>' || hidden AS "<img src=x onerror=alert(2)>",
    train('sql/data/digits.parquet', {
        architecture: 'mlp', hidden: hidden, learning_rate: learning_rate, epochs: 2
    }) AS t
FROM (VALUES (0.01, 16), (0.1, 16), (0.01, 32), (0.1, 32), (1e30, 16), (-1.0, 16))
    AS search_space(learning_rate, hidden);
"#;

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Every address in the page is within it.
#[track_caller]
fn check_page(html: &str) {
    assert!(html.len() < 3_000_000, "{} bytes", html.len());
    for attribute in ["src=\"", "href=\"", "action=\"", "srcset=\"", "poster=\""] {
        for (at, _) in html.match_indices(attribute) {
            let value = &html[at + attribute.len()..];
            let shown: String = value.chars().take(60).collect();
            let own = value.starts_with('#') || value.starts_with("data:");
            assert!(own, "{attribute}{shown}");
        }
    }
    for forbidden in [
        "<script",
        "<img src=x",
        "url(",
        "@import",
        "<iframe",
        "<object",
    ] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert!(html.contains("default-src 'none'"));
    let figures = html.matches("<figure").count();
    assert!(figures > 0);
    assert_eq!(html.matches("Data of this figure").count(), figures);
    assert_eq!(html.matches("<figcaption").count(), figures);
}

#[test]
fn a_study_becomes_a_page_and_charts() {
    let atoll = Atoll::new();
    atoll.run(&["-c", STUDY]).ok();
    let page = atoll.path("report.html");
    let file = page.display().to_string();
    let test = "sql/data/digits.parquet";
    let output = atoll
        .run(&["report", "study", "-o", &file, "--test", test])
        .ok();
    assert!(output.stderr.contains("wrote "), "{}", output.stderr);
    assert_eq!(output.stdout, "");
    let html = read(&page);
    check_page(&html);
    for part in [
        "Validation error against learning_rate",
        "History of the best",
        "Learning curves",
        "Hyperparameter importance",
        "Validation error over ",
        "Parallel coordinates",
        "Trials over workers",
        "Speed-up over workers",
        ">DIVERGED<",
        ">INFEASIBLE<",
        "learning_rate must be greater than 0",
        "&lt;script&gt;alert(1)&lt;/script&gt;16",
        "Confusion",
        "Scores of 10 classes",
        "Calibration",
        "Worst images",
        "data:image/png;base64,",
        "snapshots/",
    ] {
        assert!(html.contains(part), "no {part}");
    }
    trains_again(&atoll, &html);
    for (name, start) in [("a.svg", &b"<svg "[..]), ("a.png", &b"\x89PNG"[..])] {
        let path = atoll.path(name);
        let file = path.display().to_string();
        atoll
            .run(&["plot", "study", "--kind", "curves", "-o", &file, "-q"])
            .ok();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(start), "{name}");
    }
}

/// What `tune` writes beside hyperparameters is none, and has charts of its own.
#[test]
fn a_search_becomes_a_page() {
    let atoll = Atoll::new();
    let tune = |epochs: u32, options: &str| {
        format!(
            "SELECT * FROM tune('sql/data/digits.parquet', {{architecture: 'mlp', \
             learning_rate: hp_loguniform(0.001, 0.5), hidden: hp_logint(4, 32), \
             optimizer: hp_choice([{{optimizer: 'sgd', momentum: hp_uniform(0.5, 0.9)}}, \
             {{optimizer: 'adam'}}]), epochs: {epochs}}}, {options})"
        )
    };
    let pruned = tune(3, "{trials: 12, pruner: 'halving', sampler: 'sobol'}");
    let options =
        "{trials: 8, objective: ['validation_error', 'cost'], sampler: 'sobol'}";
    let several = tune(1, options);
    let sql =
        format!("CREATE TABLE pruned AS {pruned}; CREATE TABLE several AS {several}");
    atoll.run(&["-c", &sql]).ok();
    let html = atoll.run(&["report", "pruned", "-o", "-"]).ok().stdout;
    check_page(&html);
    for part in [
        "History of the best",
        "in which they were proposed",
        "12 had 1 epoch, and 5 of them went on; 5 had 3 epochs",
        "Left out: pareto, because the study has one objective.",
        "Validation error over ",
        "trial 0",
        "None: every trial succeeded or was ended by a pruner.",
    ] {
        assert!(html.contains(part), "no {part}: {html}");
    }
    // Neither numbers of trials nor rungs have a slice of their own.
    let chosen = [
        "report",
        "several",
        "-o",
        "-",
        "--contour",
        "hidden,momentum",
    ];
    let html = atoll.run(&chosen).ok().stdout;
    check_page(&html);
    for part in [
        "Pareto front",
        "of 8 trials that succeeded are on the front",
        "Validation error over hidden and momentum",
        "Left out: rungs, because no pruner compared its trials at several rungs.",
    ] {
        assert!(html.contains(part), "no {part}: {html}");
    }
    let table = html.split("Parallel coordinates</caption>").nth(1).unwrap();
    let (head, _) = table.split_once("</thead>").unwrap();
    assert_eq!(head.matches("<th").count(), 6, "{head}");
    let wrong = [
        "report",
        "pruned",
        "-o",
        "-",
        "--contour",
        "hidden,momentun",
    ];
    let error =
        "contour cannot be drawn: no hyperparameter momentun differs among the trials";
    atoll.run(&wrong).fails_naming(&[error]);
    let file = atoll.path("contour.svg").display().to_string();
    let wanted = [
        "plot",
        "pruned",
        "--contour",
        "hidden,learning_rate",
        "-o",
        &file,
    ];
    atoll.run(&wanted).ok();
    assert!(read(&atoll.path("contour.svg")).contains("over hidden and learning_rate"));
}

/// The SQL in the page finds the best trial in the store and trains nothing.
#[track_caller]
fn trains_again(atoll: &Atoll, html: &str) {
    let before = atoll.trials();
    let sql = again(html);
    let sql = format!("SELECT trial['status'] AS status FROM ({sql})");
    let output = atoll.run(&["--format", "csv", "-c", &sql]).ok();
    assert_eq!(output.stdout, "status\nSUCCEEDED\n");
    assert_eq!(atoll.trials(), before, "{sql}");
}

/// The statement of a page.
fn again(html: &str) -> String {
    let (_, sql) = html.split_once("<code>SELECT").unwrap();
    let (sql, _) = sql.split_once("</code>").unwrap();
    let sql = format!("SELECT{sql}")
        .replace("&quot;", "\"")
        .replace("&amp;", "&");
    sql.trim_end_matches(';').to_string()
}

/// Also where nothing of the study is left but its snapshot: the same network, which knows
/// its classes, from the same validation rows.
#[test]
fn the_sql_of_a_page_trains_the_same_network() {
    let atoll = Atoll::new();
    let study = "
        CREATE VIEW animals AS
        SELECT CAST(value AS DOUBLE) AS x, CASE value % 3 WHEN 0 THEN 'cat'
            WHEN 1 THEN 'a' || chr(10) || 'dog' ELSE 'bee' END AS label
        FROM generate_series(1, 60) AS numbers(value);
        CREATE TABLE study AS
        SELECT hidden, train('animals', {hidden: hidden, epochs: 2}, {split_seed: 5}) AS t
        FROM (VALUES (4)) AS sizes(hidden);";
    atoll.run(&["-c", study]).ok();
    let html = atoll.run(&["report", "study", "-o", "-"]).ok().stdout;
    assert!(
        html.contains("Its trial_id") && !html.contains("digest"),
        "{html}"
    );
    let sql = again(&html);
    let values = "t['trial_id'] AS id, t['model_sha256'] AS model, \
                  array_to_string(model_info(t['model'])['labels'], ',') AS labels";
    let of_study = format!("SELECT {values} FROM study");
    let first = atoll.run(&["--format", "csv", "-c", &of_study]).ok().stdout;
    assert!(first.contains("a\ndog,bee,cat"), "{first}");
    let elsewhere = atoll.path("elsewhere").display().to_string();
    for storage in [atoll.path("storage").display().to_string(), elsewhere] {
        let sql = format!("SELECT {values} FROM (SELECT trial AS t FROM ({sql}))");
        let mut command = atoll.command_in(&storage, &["--format", "csv", "-c", &sql]);
        let output = crate::support::Running::new(command.spawn().unwrap()).finish();
        assert_eq!(output.ok().stdout, first, "{sql}");
    }
}

#[test]
fn labelled_images_become_a_page() {
    let atoll = Atoll::new();
    let broken = atoll.file("<img src=x onerror=alert(3)>.png", "no image");
    let sql = format!(
        "CREATE TABLE labels AS
         SELECT filename, r['labels'] AS labels, r['error_code'] AS error_code,
             r['error'] AS error, now() AS labelled_at
         FROM (
             SELECT filename, try_classify('sql/data/efficientnet-lite0.onnx', content) AS r
             FROM (
                 SELECT filename, content FROM read_blob('sql/data/photos/*')
                 UNION ALL
                 SELECT filename, content FROM read_blob('{broken}')
             )
         )"
    );
    atoll.run(&["-c", &sql]).ok();
    let html = atoll.run(&["report", "labels", "-o", "-"]).ok().stdout;
    check_page(&html);
    for part in [
        "Scores of the likeliest label",
        "Errors by code",
        "NOT_AN_IMAGE",
        "Images over time",
        "Surest",
        "data:image/jpeg;base64,",
        "&lt;img src=x onerror=alert(3)&gt;.png",
    ] {
        assert!(html.contains(part), "no {part}");
    }
    let without = atoll
        .run(&["report", "labels", "-o", "-", "--images", "0"])
        .ok();
    assert!(!without.stdout.contains("data:image"));
}

#[test]
fn tables_files_and_images_may_have_odd_names() {
    let atoll = Atoll::new();
    let images = atoll.path("photos [1] #%25");
    std::fs::create_dir(&images).unwrap();
    let names = [
        "a b.jpg",
        "a[1].jpg",
        "a#b.jpg",
        "100%.jpg",
        "\u{fc}\u{1f980}.jpg",
        "q?.jpg",
    ];
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/data/photos/rocket.jpg");
    for name in names {
        std::fs::copy(photo, images.join(name)).unwrap();
    }
    let labels = format!(
        "SELECT filename, [{{label: 'cat', score: 0.9}}] AS labels
         FROM read_blob('{}/')",
        images.display()
    );
    let mut tables = vec![];
    for name in [
        "a b",
        "a[1]",
        "a#b",
        "100%25",
        "\u{fc}\u{1f980}",
        "q?",
        "it's",
    ] {
        let file = atoll.path(&format!("{name}.parquet")).display().to_string();
        let quoted = file.replace('\'', "''");
        atoll
            .run(&["-c", &format!("COPY ({labels}) TO '{quoted}'")])
            .ok();
        tables.push(file);
    }
    let sql = format!(
        "CREATE TABLE \"Labels\" AS {labels}; CREATE TABLE \"la-bels\" AS {labels};
         CREATE TABLE \"select\" AS {labels}"
    );
    atoll.run(&["-c", &sql]).ok();
    tables.extend(["Labels", "la-bels", "select"].map(str::to_string));
    for table in tables {
        let html = atoll.run(&["report", &table, "-o", "-"]).ok().stdout;
        check_page(&html);
        assert_eq!(html.matches("data:image/").count(), names.len(), "{table}");
    }
}

#[test]
fn what_cannot_be_shown_is_said_in_one_sentence() {
    let atoll = Atoll::new();
    let digits = "sql/data/digits.parquet";
    atoll.run(&["report", digits]).fails_naming(&[
        "sql/data/digits.parquet has neither trials nor labelled images",
        "image, label, split",
        "hint: a study has",
    ]);
    atoll
        .run(&["report", "nothing_here"])
        .fails_naming(&["nothing_here"]);
    let none = "CREATE TABLE none AS SELECT 'FAILED' AS status, 0.5 AS validation_loss \
                WHERE false";
    atoll.run(&["-c", none]).ok();
    let file = atoll.path("a.svg").display().to_string();
    atoll
        .run(&["plot", "none", "-o", &file])
        .fails_naming(&["learning-rate cannot be drawn"]);
    atoll
        .run(&["plot", "none", "--kind", "scores", "-o", &file])
        .fails_naming(&["this is a study", "hint: kinds are learning-rate"]);
    atoll
        .run(&["plot", "none", "-o", "a.jpg"])
        .fails_naming(&["a.jpg", "ends in .svg or .png"]);
    // A page says what is missing instead.
    let html = atoll.run(&["report", "none", "-o", "-"]).ok().stdout;
    assert!(html.contains("No trial succeeded"), "{html}");
}
