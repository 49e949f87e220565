//! Names of files: one that exists is meant as it is written, whatever it looks like.

use std::fs;

use crate::bucket::S3;
use crate::support::{Atoll, Running};

/// Names that look like a pattern, a URL's syntax or an escape.
const ODD: [&str; 8] = [
    "a#b.parquet",
    "100%25.parquet",
    "100%.parquet",
    "q?.parquet",
    "x[1].parquet",
    "two words.parquet",
    "star*.parquet",
    "p=%C3%96.parquet",
];

fn rows(atoll: &Atoll, sql: &str) -> String {
    atoll.run(&["--format", "csv", "-c", sql]).ok().stdout
}

#[test]
fn copy_writes_the_file_that_it_names_and_everything_finds_it() {
    let atoll = Atoll::new();
    for (number, name) in ODD.iter().enumerate() {
        let file = atoll.path(&format!("out {number}/{name}"));
        let path = file.display();
        let sql = format!("COPY (SELECT {number} AS n) TO '{path}'");
        assert_eq!(rows(&atoll, &sql), "count\n1\n", "{name}");
        assert!(file.is_file(), "{name}");
        let beside = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "{name}");
        let folder = file.parent().unwrap().display().to_string();
        for from in [
            format!("{path}"),
            format!("file://{path}"),
            format!("{folder}/"),
        ] {
            let sql = format!("SELECT n FROM '{from}'");
            assert_eq!(rows(&atoll, &sql), format!("n\n{number}\n"), "{from}");
        }
        let sql = format!("SELECT count(*) AS n FROM read_blob('{path}')");
        assert_eq!(rows(&atoll, &sql), "n\n1\n", "{name}");
        let sql = format!(
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{path}'; SELECT n FROM t"
        );
        assert_eq!(rows(&atoll, &sql), format!("n\n{number}\n"), "{name}");
    }
    assert!(!atoll.path("out 0/a").exists());
}

/// What the other files hold is not asked for a few rows.
#[test]
fn a_limit_reads_as_many_files_as_it_needs() {
    let atoll = Atoll::new();
    let folder = atoll.path("many");
    fs::create_dir(&folder).unwrap();
    let folder = folder.display();
    let copies: Vec<String> = (0..9)
        .map(|n| format!("COPY (SELECT {n} AS n, 3 AS m) TO '{folder}/{n}.parquet'"))
        .collect();
    rows(&atoll, &copies.join(";"));
    let files = |sql: &str| {
        let plan = rows(&atoll, &format!("EXPLAIN {sql}"));
        (0..9)
            .filter(|n| plan.contains(&format!("/{n}.parquet")))
            .count()
    };
    let from = format!("FROM '{folder}/'");
    assert_eq!(files(&format!("SELECT * {from} LIMIT 2")), 2);
    assert_eq!(files(&format!("SELECT * {from} LIMIT 3 OFFSET 4")), 7);
    let filtered = rows(&atoll, &format!("SELECT n {from} WHERE n = 8 LIMIT 1"));
    assert_eq!(filtered, "n\n8\n");
    let few = rows(
        &atoll,
        &format!("SELECT count(*) AS n FROM (SELECT m {from} LIMIT 2)"),
    );
    assert_eq!(few, "n\n2\n");
    let most = rows(
        &atoll,
        &format!("SELECT max(n) AS n FROM (SELECT n {from} LIMIT 20)"),
    );
    assert_eq!(most, "n\n8\n");
}

#[test]
fn folders_may_have_odd_names_too() {
    let atoll = Atoll::new();
    let file = atoll.path("[2026] trip/r.parquet");
    rows(
        &atoll,
        &format!("COPY (SELECT 1 AS n) TO '{}'", file.display()),
    );
    assert!(file.is_file());
    let folder = atoll.path("[2026] trip").display().to_string();
    for from in [format!("{folder}/"), format!("{folder}/*.parquet")] {
        assert_eq!(rows(&atoll, &format!("SELECT n FROM '{from}'")), "n\n1\n");
        let sql = format!("SELECT count(*) AS n FROM read_blob('{from}')");
        assert_eq!(rows(&atoll, &sql), "n\n1\n");
    }
    let folder = atoll.path("100%25 [x]").display().to_string();
    let copy = format!("COPY (SELECT 2 AS n) TO '{folder}/' STORED AS PARQUET");
    rows(&atoll, &copy);
    rows(&atoll, &copy);
    assert_eq!(
        rows(&atoll, &format!("SELECT n FROM '{folder}/'")),
        "n\n2\n"
    );
}

#[test]
fn a_blank_may_be_escaped_in_a_url() {
    let atoll = Atoll::new();
    let file = atoll.path("a b.csv");
    fs::write(&file, "n\n1\n").unwrap();
    let url = format!("file://{}", file.display()).replace(' ', "%20");
    assert_eq!(rows(&atoll, &format!("SELECT n FROM '{url}'")), "n\n1\n");
    let sql = format!("SELECT count(*) AS n FROM read_blob('{url}')");
    assert_eq!(rows(&atoll, &sql), "n\n1\n");
    // In a path it may not.
    let path = url.strip_prefix("file://").unwrap();
    let sql = format!("SELECT n FROM '{path}'");
    atoll
        .run(&["-c", &sql])
        .fails_naming(&["no file or table named"]);
    // A file that is called so is found under both.
    fs::rename(&file, path).unwrap();
    for name in [url.as_str(), path] {
        assert_eq!(
            rows(&atoll, &format!("SELECT n FROM '{name}'")),
            "n\n1\n",
            "{name}"
        );
    }
}

#[test]
fn patterns_and_folders_with_subfolders_are_tables() {
    let atoll = Atoll::new();
    for (n, name) in ["b/x/1.csv", "b/y/2.csv", "b/y/deep/3.csv", "b/4.csv"]
        .iter()
        .enumerate()
    {
        let file = atoll.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("n\n{}\n", n + 1)).unwrap();
    }
    fs::create_dir_all(atoll.path("b/_temporary")).unwrap();
    fs::write(atoll.path("b/_temporary/9.csv"), "n\n9\n").unwrap();
    fs::write(atoll.path("b/_SUCCESS"), "").unwrap();
    let root = atoll.path("b").display().to_string();
    for (pattern, expected) in [
        ("*.csv", "4"),
        ("*/*.csv", "1,2"),
        ("**/*.csv", "1,2,3,4"),
        ("y/**/*.csv", "2,3"),
        ("?/[12].csv", "1,2"),
        ("", "1,2,3,4"),
    ] {
        let sql = format!(
            "SELECT string_agg(n::VARCHAR, ',' ORDER BY n) AS n FROM '{root}/{pattern}'"
        );
        let found = rows(&atoll, &sql);
        assert_eq!(
            found.replace('"', ""),
            format!("n\n{expected}\n"),
            "{pattern}"
        );
    }
    let sql = format!("SELECT n FROM '{root}/z*.csv'");
    atoll.run(&["-c", &sql]).fails_naming(&["z*.csv"]);
}

#[test]
fn train_takes_the_files_that_from_takes() {
    let atoll = Atoll::new();
    let trained = |name: &str| {
        let sql = format!(
            "SELECT train('{name}', {{architecture: 'mlp', epochs: 1, hidden: 4}})\
             ['model_sha256'] AS m"
        );
        rows(&atoll, &sql)
    };
    let expected = trained("sql/data/digits.parquet");
    let odd = ["data.pq", "x[1].parquet", "a#b 100%25.parquet"];
    for name in odd {
        let file = atoll.path(name);
        fs::copy("sql/data/digits.parquet", &file).unwrap();
        assert_eq!(trained(&file.display().to_string()), expected, "{name}");
        let in_folder = format!("SELECT count(*) AS n FROM '{}'", file.display());
        assert_eq!(rows(&atoll, &in_folder), "n\n1797\n", "{name}");
    }
}

#[cfg(unix)]
#[test]
fn names_that_no_store_takes_hide_no_other_files() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let atoll = Atoll::new();
    fs::create_dir_all(atoll.path("in/deep")).unwrap();
    fs::write(atoll.path("in/a.csv"), "n\n1\n").unwrap();
    let odd: [&[u8]; 2] = [b"b\n.csv", b"c\xff.csv"];
    for name in odd {
        fs::write(
            atoll.path("in/deep").join(OsStr::from_bytes(name)),
            "n\n2\n",
        )
        .unwrap();
    }
    let root = atoll.path("in").display().to_string();
    let output = atoll
        .run(&["--format", "csv", "-c", &format!("SELECT n FROM '{root}/'")])
        .ok();
    assert_eq!(output.stdout, "n\n1\n");
    assert!(output.stderr.contains("b\\n.csv"), "{}", output.stderr);
    for pattern in [String::from(""), "deep/*.csv".into(), "**/*.csv".into()] {
        let sql = format!("SELECT count(*) >= 2 AS n FROM read_blob('{root}/{pattern}')");
        assert_eq!(rows(&atoll, &sql), "n\ntrue\n", "{pattern}");
    }
}

#[test]
fn a_bucket_has_the_same_names() {
    let s3 = S3::start(0);
    let atoll = Atoll::new();
    let run = |sql: &str| {
        let mut command = atoll.command(&["--format", "csv", "-c", sql]);
        s3.open_to(&mut command);
        Running::new(command.spawn().unwrap()).finish().ok().stdout
    };
    let folder = s3.folder.path().join("bucket/in");
    fs::create_dir_all(&folder).unwrap();
    let names = [
        "a#b.csv",
        "100%25.csv",
        "q?.csv",
        "x[1].csv",
        "two words.csv",
    ];
    for (n, name) in names.iter().enumerate() {
        fs::write(folder.join(name), format!("n\n{n}\n")).unwrap();
    }
    let mut sql = String::new();
    let mut expected = String::new();
    for (n, name) in names.iter().enumerate() {
        sql += &format!("SELECT n FROM 's3://bucket/in/{name}';");
        expected += &format!("n\n{n}\n");
        sql += &format!(
            "SELECT count(content) AS n FROM read_blob('s3://bucket/in/{name}');"
        );
        expected += "n\n1\n";
    }
    sql += "SELECT count(*) AS n FROM 's3://bucket/in/*.csv'; SELECT count(*) AS n FROM 's3://bucket/in/';";
    expected += "n\n5\nn\n5\n";
    sql += "COPY (SELECT 7 AS n, 'Österreich' AS p) TO 's3://bucket/out/' STORED AS CSV PARTITIONED BY (p);
        SELECT n, p FROM 's3://bucket/out/';";
    expected += "count\n1\nn,p\n7,Österreich\n";
    assert_eq!(run(&sql), expected);
}

#[test]
fn the_rows_that_decide_the_types_of_a_csv_file_can_be_more() {
    let atoll = Atoll::new();
    let numbers: String = (0..2000).map(|n| format!("{n}\n")).collect();
    let file = atoll.file("ints.csv", &format!("n\n{numbers}3.5\n"));
    let sql = format!("SELECT max(n) AS n FROM '{file}' WHERE n < 4");
    let hint = "SET atoll.infer_rows";
    atoll
        .run(&["-c", &sql])
        .fails_naming(&["3.5", "line 2001", hint]);
    let external = format!(
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{file}';
         SELECT max(n) AS n FROM t WHERE n < 4"
    );
    atoll.run(&["-c", &external]).fails_naming(&[hint]);
    for sql in [sql, external] {
        let sql = format!("SET atoll.infer_rows = 5000; {sql}");
        assert_eq!(rows(&atoll, &sql), "n\n3.5\n");
    }
}

#[test]
fn a_hint_names_the_folder_that_is_not_there() {
    let atoll = Atoll::new();
    let folder = atoll.path("none").display().to_string();
    for sql in [
        format!("SELECT * FROM read_blob('{folder}/x.jpg')"),
        format!("SELECT * FROM '{folder}/x.parquet'"),
    ] {
        let said = format!("there is no folder {folder}; check the path");
        atoll.run(&["-c", &sql]).fails_naming(&[&said]);
    }
}
