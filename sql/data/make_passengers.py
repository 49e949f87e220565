"""Writes passengers.csv: 800 invented passengers of an invented ship, with text, dates and gaps.

Nobody in it is real. Whether a passenger was rescued depends on class, age, deck and how early
they booked, and on chance. Run it with Python 3, without packages:

    python3 sql/data/make_passengers.py > sql/data/passengers.csv
"""

import csv
import datetime
import math
import random
import sys

FIRST = "Ada Alan Barbara Claude Donald Edsger Frances Grace John Katherine Leslie Margaret".split()
LAST = "Alder Birch Cedar Elm Fir Hazel Holly Larch Maple Oak Pine Rowan Spruce Willow Yew".split()
PORTS = ["Bergen", "Lisbon", "Genoa", "Cork", "Riga"]


def passenger(number, draw):
    cabin = draw.choices(["first", "second", "third"], [2, 3, 5])[0]
    age = min(80.0, max(0.5, draw.gauss(31, 15)))
    fare = {"first": 90, "second": 30, "third": 11}[cabin] * draw.lognormvariate(0, 0.4)
    booked = datetime.date(1908, 1, 1) + datetime.timedelta(days=draw.randrange(700))
    crew = draw.random() < 0.08
    odds = {"first": 1.4, "second": 0.2, "third": -1.1}[cabin]
    odds += 1.6 if age < 12 else -0.012 * (age - 30)
    odds += 0.8 * math.cos(2 * math.pi * booked.timetuple().tm_yday / 365.25)
    odds += -1.2 if crew else 0.0
    rescued = draw.random() < 1 / (1 + math.exp(-odds))
    return {
        "passenger_id": number,
        "name": f"{draw.choice(FIRST)} {draw.choice(LAST)} {number}",
        "cabin": cabin,
        "age": "" if draw.random() < 0.2 else f"{age:.1f}",
        "fare": f"{fare:.2f}",
        "port": "" if draw.random() < 0.05 else draw.choice(PORTS),
        "booked": booked.isoformat(),
        "crew": str(crew).lower(),
        "ship": "Arethusa",
        "rescued": "yes" if rescued else "no",
    }


def main():
    draw = random.Random(7)
    rows = [passenger(number, draw) for number in range(1, 801)]
    writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


main()
