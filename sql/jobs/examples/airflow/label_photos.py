"""Labels the photos of each day with Atoll (Airflow 3).

Airflow gives the interval, so a run that is cleared or backfilled replaces the same day.
The exit codes of `atoll run`:

    0  success
    1  a statement failed: the task fails and is tried again
    2  wrong command line: the task fails, and trying again does not help
    3  the same job and interval is running already: the task is skipped
    4  the time was up: the task fails, and the next try goes on where it stopped
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

LABEL = """
cd /opt/atoll && exec bin/atoll run sql/jobs/label_images.sql \
    --job label-photos \
    --interval "{{ data_interval_start | ds }}/{{ data_interval_end | ds }}" \
    --timeout 2h --retries 2 \
    --set images=/srv/photos --set output=/srv/labels \
    --storage /var/lib/atoll \
    --log-format json --quiet
"""

with DAG(
    dag_id="label_photos",
    # A plain cron expression has no interval in Airflow 3: its start is its end.
    schedule=CronDataIntervalTimetable("30 2 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(minutes=10)},
    doc_md=__doc__,
):
    BashOperator(
        task_id="label",
        bash_command=LABEL,
        skip_on_exit_code=3,
        # The job ends itself after 2 hours; this is for one that cannot.
        execution_timeout=timedelta(hours=2, minutes=10),
        # Credentials of object stores come from the worker's environment.
        append_env=True,
    )
