//! `COPY .. TO 'folder/'`: all files or none, and only over what COPY wrote.

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
    let good = format!("COPY (SELECT 1 AS a) TO '{folder}/' STORED AS PARQUET");
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
