//! `COPY .. TO 'folder/'`: all files or none, and only over what COPY wrote.

use crate::server::Server;
use crate::support::{Atoll, files};

#[test]
fn a_folder_is_replaced_whole_and_can_be_read() {
    let atoll = Atoll::new();
    let folder = atoll.path("out").display().to_string();
    let copy = |rows: &str| {
        let sql =
            format!("COPY ({rows}) TO '{folder}/' STORED AS PARQUET PARTITIONED BY (b)");
        atoll.run(&["-c", &sql]).ok();
    };
    copy("SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y'");
    copy("SELECT 3 AS a, 'x' AS b");
    let sql = format!("SELECT a, b FROM '{folder}/'");
    let rows = atoll.run(&["-c", &sql, "--format", "csv"]).ok().stdout;
    assert_eq!(rows, "a,b\n3,x\n");
    assert!(atoll.path("out/_SUCCESS").is_file());
    assert!(!atoll.path("out/b=y").exists(), "an old partition stayed");
}

#[test]
fn a_failing_copy_leaves_the_old_rows_and_nothing_else() {
    let atoll = Atoll::new();
    let folder = atoll.path("home2/out").display().to_string();
    let good = format!(
        "COPY (SELECT arrow_cast(1, 'UInt32') AS a) TO '{folder}/' STORED AS PARQUET"
    );
    atoll.run(&["-c", &good]).ok();
    let bad = format!(
        "COPY (SELECT image_decode(content)['width'] AS a FROM read_blob('README.md')) \
         TO '{folder}/' STORED AS PARQUET"
    );
    atoll
        .run(&["-c", &bad])
        .fails_naming(&["README.md", "not an image"]);
    let sql = format!("SELECT a FROM '{folder}/'");
    let rows = atoll.run(&["-c", &sql, "--format", "csv"]).ok().stdout;
    assert_eq!(rows, "a\n1\n");
    let beside = std::fs::read_dir(atoll.path("home2")).unwrap().count();
    assert_eq!(beside, 1, "a staging folder stayed");
}

#[test]
fn no_rows_still_have_columns() {
    let atoll = Atoll::new();
    let folder = atoll.path("out").display().to_string();
    let sql =
        format!("COPY (SELECT 1 AS a WHERE false) TO '{folder}/' STORED AS PARQUET");
    atoll.run(&["-c", &sql]).ok();
    assert_eq!(files(&atoll.path("out"), "parquet"), 1);
    let sql = format!("SELECT count(a) AS n FROM '{folder}/'");
    assert_eq!(
        atoll.run(&["-c", &sql, "--format", "csv"]).ok().stdout,
        "n\n0\n"
    );
}

#[test]
fn a_folder_with_other_files_is_refused() {
    let atoll = Atoll::new();
    std::fs::create_dir(atoll.path("mine")).unwrap();
    atoll.file("mine/letter.txt", "dear");
    let folder = atoll.path("mine").display().to_string();
    let sql = format!("COPY (SELECT 1 AS a) TO '{folder}/' STORED AS PARQUET");
    atoll
        .run(&["-c", &sql])
        .fails_naming(&["holds files that COPY did not write"]);
    assert!(atoll.path("mine/letter.txt").exists());
}

#[test]
fn files_are_named_after_partitions_and_stand_in_the_manifest() {
    let atoll = Atoll::new();
    let folder = atoll.path("out").display().to_string();
    let sql = format!(
        "COPY (SELECT n, n % 2 AS odd FROM generate_series(1, 100000) AS s(n)) TO \
         '{folder}/' STORED AS PARQUET PARTITIONED BY (odd) OPTIONS (manifest true)"
    );
    let manifest = || {
        let rows = atoll.run(&["--format", "csv", "-c", &sql]).ok().stdout;
        assert_eq!(rows, "count\n100000\n");
        std::fs::read_to_string(atoll.path("out/_manifest.json")).unwrap()
    };
    let (first, second) = (manifest(), manifest());
    assert_eq!(first, second, "the same rows give the same files");
    let manifest: serde_json::Value = serde_json::from_str(&first).unwrap();
    let files = manifest["files"].as_array().unwrap();
    assert!(files.len() >= 2, "{first}");
    for file in files {
        let path = file["path"].as_str().unwrap();
        assert!(path.starts_with("odd="), "{first}");
        assert!(path.contains("/part-0000"), "{first}");
        let sql = format!(
            "SELECT size, encode(sha256(content), 'hex') AS hash \
             FROM read_blob('{folder}/{path}')"
        );
        let row = atoll.run(&["--format", "csv", "-c", &sql]).ok().stdout;
        let (bytes, hash) = (&file["bytes"], file["sha256"].as_str().unwrap());
        assert_eq!(row, format!("size,hash\n{bytes},{hash}\n"));
    }
}

#[test]
fn rows_in_order_stay_in_order_and_options_are_honoured_on_a_cluster() {
    let cluster = Server::cluster(2, |_| {});
    let atoll = Atoll::new();
    let folder = atoll.path("out").display().to_string();
    let sql = format!(
        "COPY (SELECT filename LIKE '%coffee%' AS coffee, image_info(content)['width'] \
         AS width FROM read_blob('sql/data/photos/*') ORDER BY filename DESC) TO \
         '{folder}/' STORED AS CSV OPTIONS (has_header false, delimiter ';')"
    );
    for address in [None, Some(cluster.address())] {
        let mut arguments = vec!["-c", sql.as_str()];
        if let Some(address) = &address {
            arguments.extend(["--cluster", address]);
        }
        atoll.run(&arguments).ok();
        let mut files = std::fs::read_dir(atoll.path("out")).unwrap().flatten();
        let file = files.find(|f| f.file_name().to_string_lossy().ends_with(".csv"));
        let rows = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let rows: Vec<&str> = rows.lines().collect();
        assert_eq!(rows.len(), 9, "{rows:?}");
        assert_eq!(
            rows.iter().position(|row| *row == "true;600"),
            Some(4),
            "{rows:?}"
        );
    }
}

#[test]
fn a_manifest_must_be_true_or_false_and_of_a_folder() {
    let atoll = Atoll::new();
    for (target, wanted, problem) in [
        ("out/", "maybe", "must be true or false, got 'maybe'"),
        (
            "out.parquet",
            "true",
            "describe a folder; end the target with /",
        ),
    ] {
        let target = atoll.path(target).display().to_string();
        let sql = format!(
            "COPY (SELECT 1 AS a) TO '{target}' STORED AS PARQUET \
             OPTIONS (manifest '{wanted}')"
        );
        atoll.run(&["-c", &sql]).fails_naming(&[problem]);
    }
}

#[test]
fn other_columns_are_refused_with_what_differs() {
    let atoll = Atoll::new();
    let copy = |target: &str, rows: &str, options: &str| {
        let target = atoll.path(target).display().to_string();
        let sql = format!("COPY ({rows}) TO '{target}' STORED AS PARQUET {options}");
        atoll.run(&["-c", &sql])
    };
    for target in ["out/", "out.parquet"] {
        copy(target, "SELECT 1 AS a, 'x' AS b", "").ok();
        copy(target, "SELECT 'y' AS b, 2 AS a", "").ok();
        copy(target, "SELECT 1.5 AS a, 1 AS c", "").fails_naming(&[
            "column a was Int64 and would be Float64",
            "column c is new",
            "column b is missing",
            "hint: OPTIONS (schema_change true)",
        ]);
        let rows = "SELECT 1.5 AS a, 1 AS c";
        copy(target, rows, "OPTIONS (schema_change true)").ok();
    }
    let partitioned = "PARTITIONED BY (c)";
    copy("out/", "SELECT 1.5 AS a, 1 AS c", partitioned)
        .fails_naming(&["it is partitioned by () and would be by (c)"]);
}

#[test]
fn files_have_about_the_size_that_was_asked_for_and_say_where_they_come_from() {
    let atoll = Atoll::new();
    let folder = atoll.path("out").display().to_string();
    let sql = format!(
        "COPY (SELECT n, sha256(CAST(n AS VARCHAR)) AS h FROM generate_series(1, 200000) \
         AS s(n) ORDER BY n) TO '{folder}/' STORED AS PARQUET \
         OPTIONS (target_file_size '1mb', compression 'zstd(3)')"
    );
    atoll.run(&["-c", &sql]).ok();
    let sizes: Vec<u64> = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .filter(|f| f.file_name().to_string_lossy().ends_with(".parquet"))
        .map(|f| f.metadata().unwrap().len())
        .collect();
    assert!(sizes.len() >= 4, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 2 << 20), "{sizes:?}");
    let count = format!("SELECT count(*) AS n, sum(n) AS s FROM '{folder}/'");
    let rows = atoll.run(&["--format", "csv", "-c", &count]).ok().stdout;
    assert_eq!(rows, "n,s\n200000,20000100000\n");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .find(|f| f.file_name().to_string_lossy().starts_with("part-00000"));
    let bytes = std::fs::read(file.unwrap().path()).unwrap();
    for key in ["atoll.provenance", "engine", "inference", "generate_series"] {
        let found = bytes.windows(key.len()).any(|part| part == key.as_bytes());
        assert!(found, "no {key}");
    }
}

#[test]
fn a_file_names_the_models_that_made_it() {
    let atoll = Atoll::new();
    let file = atoll.path("labels.parquet");
    let model = "sql/data/efficientnet-lite0.onnx";
    let sql = format!(
        "CREATE VIEW labels AS SELECT classify('{model}', content, 1) AS l \
         FROM read_blob('sql/data/photos/*.png') LIMIT 1; \
         COPY (SELECT * FROM labels) TO '{}'",
        file.display()
    );
    atoll.run(&["-c", &sql]).ok();
    let sha256 = format!("SELECT model_info('{model}')['sha256'] AS h");
    let rows = atoll.run(&["--format", "csv", "-c", &sha256]).ok().stdout;
    let expected = format!(
        r#""models":{{"{model}":"{}"}}"#,
        rows.lines().nth(1).unwrap()
    );
    let bytes = std::fs::read(file).unwrap();
    let mut parts = bytes.windows(expected.len());
    assert!(
        parts.any(|part| part == expected.as_bytes()),
        "no {expected}"
    );
}

/// The rows of a query as CSV.
fn query(atoll: &Atoll, sql: &str) -> String {
    atoll.run(&["--format", "csv", "-c", sql]).ok().stdout
}

const NULL_FOLDER: &str = "p=__HIVE_DEFAULT_PARTITION__";

#[test]
fn null_has_a_partition_of_its_own_whatever_the_type() {
    let atoll = Atoll::new();
    for (number, (value, folder)) in [
        ("0", "p=0"),
        ("arrow_cast(0, 'UInt8')", "p=0"),
        ("false", "p=false"),
        ("DATE '1970-01-01'", "p=1970-01-01"),
        ("arrow_cast(DATE '1970-01-01', 'Date64')", "p=1970-01-01"),
        ("TIMESTAMP '1970-01-01 00:00:00'", "p=1970-01-01T00:00:00"),
        ("arrow_cast(0, 'Decimal128(10, 2)')", "p=0.00"),
        ("0.0::DOUBLE", "p=0.0"),
        ("arrow_cast(0, 'Float32')", "p=0.0"),
        ("arrow_cast(0, 'Float16')", "p=0"),
        ("''", "p="),
        ("arrow_cast('', 'LargeUtf8')", "p="),
        ("arrow_cast('', 'Utf8View')", "p="),
        ("arrow_cast('', 'Dictionary(Int32, Utf8)')", "p="),
        ("'a/b c%#?'", "p=a%2Fb c%25%23%3F"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out{number}");
        let folder_of_all = atoll.path(&out).display().to_string();
        // A NULL made by nullif has the value that it was made of in its place.
        let copy = format!(
            "COPY (SELECT n, CASE WHEN n = 1 THEN v ELSE nullif(v, v) END AS p \
             FROM (SELECT n, {value} AS v FROM generate_series(1, 2) AS s(n))) \
             TO '{folder_of_all}/' STORED AS PARQUET PARTITIONED BY (p)"
        );
        query(&atoll, &copy);
        for name in [folder, NULL_FOLDER] {
            let path = atoll.path(&out).join(name);
            assert_eq!(files(&path, "parquet"), 1, "{value}: {name}");
        }
        let read = |condition: &str| {
            let sql = format!("SELECT n FROM '{folder_of_all}/' WHERE {condition}");
            query(&atoll, &sql)
        };
        assert_eq!(read("p IS NULL"), "n\n2\n", "{value}");
        assert_eq!(read("p IS NOT NULL"), "n\n1\n", "{value}");
        assert_eq!(
            read("p = ''"),
            if folder == "p=" { "n\n1\n" } else { "n\n" }
        );
        assert_eq!(read("p <> 'none'"), "n\n1\n", "{value}");
        assert_eq!(read("coalesce(p, 'x') = 'x'"), "n\n2\n", "{value}");
        assert_eq!(read("n = 2 AND p IS NULL"), "n\n2\n", "{value}");
        let groups = format!(
            "SELECT count(*) AS a, count(p) AS b, count(DISTINCT p) AS c, min(p) = max(p) AS d FROM '{folder_of_all}/'"
        );
        assert_eq!(query(&atoll, &groups), "a,b,c,d\n2,1,1,true\n", "{value}");
    }
}

#[test]
fn a_text_like_the_name_of_null_and_types_without_names_are_refused() {
    let atoll = Atoll::new();
    let out = atoll.path("out").display().to_string();
    for (value, said) in [
        ("'__HIVE_DEFAULT_PARTITION__'", "cannot be told from NULL"),
        ("[1]", "partition by text, numbers, dates or BOOLEAN"),
        ("x'00'", "partition by text, numbers, dates or BOOLEAN"),
    ] {
        let sql = format!(
            "COPY (SELECT 1 AS n, {value} AS p) TO '{out}/' STORED AS PARQUET PARTITIONED BY (p)"
        );
        atoll.run(&["-c", &sql]).fails_naming(&[said]);
    }
    assert!(!atoll.path("out").exists());
}

#[test]
fn rows_are_inserted_into_the_partition_of_null() {
    let atoll = Atoll::new();
    let out = atoll.path("out").display().to_string();
    let sql = format!(
        "COPY (SELECT 1 AS n, 2 AS p) TO '{out}/' STORED AS PARQUET PARTITIONED BY (p);
         CREATE EXTERNAL TABLE t (n BIGINT, p BIGINT) STORED AS PARQUET
         PARTITIONED BY (p) LOCATION '{out}/';
         INSERT INTO t VALUES (3, NULL), (4, 0);
         SELECT n, p FROM t ORDER BY n;
         SELECT n FROM t WHERE p IS NULL;
         SELECT n FROM t WHERE p >= 0 ORDER BY n;
         CREATE EXTERNAL TABLE all_of_it STORED AS PARQUET LOCATION '{out}/';
         SELECT n FROM all_of_it WHERE p IS NULL"
    );
    let expected = "count\n1\ncount\n2\nn,p\n1,2\n3,\n4,0\nn\n3\nn\n1\n4\nn\n3\n";
    assert_eq!(query(&atoll, &sql), expected);
    assert_eq!(files(&atoll.path("out").join(NULL_FOLDER), "parquet"), 1);
}

#[test]
fn a_partitioned_table_has_defaults() {
    let atoll = Atoll::new();
    let out = atoll.path("out").display().to_string();
    let sql = format!(
        "CREATE EXTERNAL TABLE t (n BIGINT DEFAULT 5, m BIGINT, p TEXT) STORED AS PARQUET
         PARTITIONED BY (p) LOCATION '{out}/';
         INSERT INTO t (m, p) VALUES (1, 'a');
         SELECT n, m, p FROM t"
    );
    assert_eq!(query(&atoll, &sql), "count\n1\nn,m,p\n5,1,a\n");
}

#[test]
fn partition_columns_may_be_quoted_and_called_anything() {
    let atoll = Atoll::new();
    let out = atoll.path("out").display().to_string();
    let sql = format!(
        "COPY (SELECT 1 AS n, 2 AS \"Day\", 'Österreich' AS \"my Größe\") TO '{out}/' \
         STORED AS PARQUET PARTITIONED BY (\"Day\", \"my Größe\")"
    );
    // The second time the columns are compared.
    query(&atoll, &sql);
    query(&atoll, &sql);
    let sql = format!("SELECT n, \"Day\", \"my Größe\" FROM '{out}/'");
    assert_eq!(query(&atoll, &sql), "n,Day,my Größe\n1,2,Österreich\n");
}

#[test]
fn no_rows_leave_the_columns_for_the_next_statement() {
    let atoll = Atoll::new();
    let out = atoll.path("out").display().to_string();
    let copy = |rows: &str, options: &str| {
        let sql = format!(
            "COPY ({rows}) TO '{out}/' STORED AS PARQUET PARTITIONED BY (p, q) {options}"
        );
        query(&atoll, &sql)
    };
    let read = format!("SELECT n, p, q FROM '{out}/' ORDER BY n");
    let nothing = "SELECT 1 AS n, 'a' AS p, 'b' AS q WHERE false";
    let parts = "OPTIONS (mode overwrite_partitions)";
    assert_eq!(copy(nothing, ""), "count\n0\n");
    assert_eq!(query(&atoll, &read), "n,p,q\n");
    copy(
        "SELECT 1 AS n, NULL::VARCHAR AS p, NULL::VARCHAR AS q",
        parts,
    );
    assert_eq!(query(&atoll, &read), "n,p,q\n1,,\n");
    // No rows replace no partition.
    copy(nothing, parts);
    assert_eq!(query(&atoll, &read), "n,p,q\n1,,\n");
}
