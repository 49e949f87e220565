//! Every format, byte for byte.

use crate::support::Atoll;

const SQL: &str = "SELECT * FROM (VALUES \
    (1, 0.5, 'plain', [1, 2], {x: 1}, arrow_cast('abc', 'Binary')), \
    (2, NULL, 'a \"b\", c', NULL, NULL, NULL)) AS t(n, f, text, list, point, bytes) ORDER BY n";

#[track_caller]
fn check(format: &str, expected: &str) {
    let output = Atoll::new().run(&["--format", format, "-c", SQL]).ok();
    assert_eq!(output.stdout, expected, "{}", output.stdout);
}

#[test]
fn table() {
    check(
        "table",
        "\
┌───┬──────┬──────────┬────────┬────────┬──────────────────┐
│ n │    f │ text     │ list   │ point  │ bytes            │
├───┼──────┼──────────┼────────┼────────┼──────────────────┤
│ 1 │  0.5 │ plain    │ [1, 2] │ {x: 1} │ <3 bytes 616263> │
│ 2 │ NULL │ a \"b\", c │ NULL   │ NULL   │ NULL             │
└───┴──────┴──────────┴────────┴────────┴──────────────────┘
",
    );
}

#[test]
fn csv() {
    check(
        "csv",
        "n,f,text,list,point,bytes\n\
         1,0.5,plain,\"[1,2]\",\"{\"\"x\"\":1}\",616263\n\
         2,,\"a \"\"b\"\", c\",,,\n",
    );
}

#[test]
fn tsv() {
    check(
        "tsv",
        "n\tf\ttext\tlist\tpoint\tbytes\n\
         1\t0.5\tplain\t[1,2]\t{\"x\":1}\t616263\n\
         2\t\ta \"b\", c\t\t\t\n",
    );
}

#[test]
fn ndjson() {
    check(
        "ndjson",
        "{\"n\":1,\"f\":0.5,\"text\":\"plain\",\"list\":[1,2],\"point\":{\"x\":1},\"bytes\":\"616263\"}\n\
         {\"n\":2,\"f\":null,\"text\":\"a \\\"b\\\", c\",\"list\":null,\"point\":null,\"bytes\":null}\n",
    );
}

#[test]
fn json_is_one_array_per_statement() {
    let output = Atoll::new().run(&["--format", "json", "-c", SQL]).ok();
    let rows: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[0]["point"]["x"], 1);
    assert!(rows[1]["f"].is_null());
}

#[test]
fn floats_that_are_no_numbers_are_words() {
    let sql = "SELECT CAST('NaN' AS DOUBLE) AS f, {'x': CAST('-inf' AS REAL), 'n': NULL} AS p, \
        [1.5, CAST('NaN' AS DOUBLE), NULL, CAST('inf' AS DOUBLE)] AS l";
    let words = "{\"x\":\"-Infinity\",\"n\":null}";
    let list = "[1.5,\"NaN\",null,\"Infinity\"]";
    let quoted = |text: &str| text.replace('"', "\"\"");
    for (format, expected) in [
        (
            "ndjson",
            format!("{{\"f\":\"NaN\",\"p\":{words},\"l\":{list}}}\n"),
        ),
        (
            "csv",
            format!("f,p,l\nNaN,\"{}\",\"{}\"\n", quoted(words), quoted(list)),
        ),
    ] {
        let output = Atoll::new().run(&["--format", format, "-c", sql]).ok();
        assert_eq!(output.stdout, expected, "{format}");
    }
}

#[test]
fn markdown() {
    check(
        "markdown",
        "| n | f | text | list | point | bytes |\n\
         | ---: | ---: | --- | --- | --- | --- |\n\
         | 1 | 0.5 | plain | [1, 2] | {x: 1} | <3 bytes 616263> |\n\
         | 2 | NULL | a \"b\", c | NULL | NULL | NULL |\n",
    );
}

#[test]
fn a_large_result_streams() {
    let sql = "SELECT value FROM generate_series(1, 300000)";
    for (format, lines) in [("csv", 300_001), ("ndjson", 300_000), ("table", 300_004)] {
        let output = Atoll::new().run(&["--format", format, "-c", sql]).ok();
        assert_eq!(output.stdout.lines().count(), lines, "{format}");
    }
}

#[test]
fn no_rows_keep_their_header() {
    let sql = "SELECT 1 AS n WHERE false";
    for (format, expected) in [
        ("csv", "n\n"),
        ("ndjson", ""),
        ("json", "[]\n"),
        ("table", "┌───┐\n│ n │\n├───┤\n└───┘\n"),
    ] {
        let output = Atoll::new().run(&["--format", format, "-c", sql]).ok();
        assert_eq!(output.stdout, expected, "{format}");
    }
}

#[test]
fn images_and_models_are_described_in_tables_and_whole_elsewhere() {
    let atoll = Atoll::new();
    let photo = "SELECT content, image_decode(content) AS image \
                 FROM read_blob('sql/data/photos/camera.png')";
    let shown = atoll.run(&["-c", photo]).ok().stdout;
    let row = shown.lines().nth(3).unwrap();
    assert!(
        row.contains(" KiB PNG 512x512> │ <image 512x512x1> │"),
        "{row}"
    );
    let content = "SELECT content FROM read_blob('sql/data/photos/camera.png')";
    let csv = atoll.run(&["--format", "csv", "-c", content]).ok().stdout;
    let bytes = std::fs::metadata("sql/data/photos/camera.png")
        .unwrap()
        .len();
    let row = csv.lines().nth(1).unwrap();
    assert_eq!(row.len() as u64, 2 * bytes, "hexadecimal, and all of it");
    assert!(row.starts_with("89504e47"), "{}", &row[..20]);
    let models = "SELECT content FROM read_blob('tests/data/models/*.onnx') \
                  WHERE filename LIKE '%twice.onnx' OR filename LIKE '%truncated.onnx' \
                  ORDER BY filename DESC";
    let shown = atoll.run(&["-c", models]).ok().stdout;
    let rows: Vec<&str> = shown.lines().skip(3).collect();
    assert!(rows[0].contains(" bytes ONNX>"), "{}", rows[0]);
    assert!(rows[1].contains(" bytes 08"), "{}", rows[1]);
}

/// The first line that CSV gives for a statement.
#[track_caller]
fn check_titles(sql: &str, expected: &str) {
    let output = Atoll::new().run(&["--format", "csv", "-c", sql]).ok();
    let titles = output.stdout.lines().next().unwrap_or_default();
    assert_eq!(titles, expected, "{sql}");
}

#[test]
fn columns_are_named_after_fields_and_functions() {
    const T: &str = "(SELECT {status: 'a', history: [{loss: 0.5}]} AS t) AS x";
    check_titles(&format!("SELECT t.status FROM {T}"), "status");
    check_titles(&format!("SELECT x.t['status'] FROM {T}"), "status");
    check_titles(&format!("SELECT t.history[1].loss FROM {T}"), "loss");
    check_titles(&format!("SELECT t.* FROM {T}"), "status,history");
    check_titles(
        &format!("SELECT CAST(t.history[1].loss AS REAL) FROM {T}"),
        "loss",
    );
    check_titles(&format!("SELECT t.status AS s FROM {T}"), "s");
    check_titles(
        &format!("SELECT t.history[1].loss, t.history[2].loss FROM {T}"),
        "t.history[1].loss,t.history[2].loss",
    );
    check_titles(&format!("SELECT *, t.status FROM {T}"), "t,status");
    check_titles(
        &format!("SELECT *, t.status FROM (SELECT 1 AS status, t FROM {T})"),
        "status,t,t.status",
    );
    check_titles(
        "SELECT a.n, b.n FROM (SELECT 1 AS n) AS a CROSS JOIN (SELECT 2 AS n) AS b",
        "n,n",
    );
    check_titles(
        "SELECT model_info('sql/data/efficientnet-lite0.onnx')",
        "model_info",
    );
    check_titles(
        "SELECT model_info('sql/data/efficientnet-lite0.onnx').engine",
        "engine",
    );
}
