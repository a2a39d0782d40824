"""How fast does carbon dioxide rise, and how does it breathe with the seasons?"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

weeks = pd.read_csv("data.csv")
weeks["date"] = pd.to_datetime(weeks["date"].astype(str), format="%Y%m%d")
weeks = weeks.set_index("date")
missing = int(weeks["co2"].isna().sum())
print(f"{len(weeks)} weeks from {weeks.index[0]:%B %Y} to {weeks.index[-1]:%B %Y}, {missing} without a measurement")

# Short gaps are filled by drawing a line across them; the season comes out as the distance from a yearly mean.
monthly = weeks["co2"].interpolate().resample("MS").mean()
trend = monthly.rolling(12, center=True).mean()
season = (monthly - trend).groupby(monthly.index.month).mean()
season -= season.mean()
print(
    f"Within a year it swings by {season.max() - season.min():.1f} ppm: "
    f"highest in month {season.idxmax()}, lowest in month {season.idxmin()}"
)

years = (monthly.index - monthly.index[0]).days / 365.25
curve = np.polyfit(years, monthly, 2)
rate_now = np.polyval(np.polyder(curve), years[-1])
print(f"By the fitted parabola it rose by {rate_now:.2f} ppm a year at the end, {curve[1]:.2f} at the start")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(2, 1))
left.plot(monthly.index, monthly, lw=0.7, label="monthly mean")
left.plot(monthly.index, np.polyval(curve, years), lw=2, label="parabola")
left.set(title="CO2 above Mauna Loa", ylabel="ppm")
left.legend()
right.bar(season.index, season)
right.set(title="Seasonal swing", xlabel="month", ylabel="ppm")
figure.tight_layout()
figure.savefig("co2.png", dpi=120)

# Without the season, so that half a year at either end does not tilt the line.
adjusted = monthly - season.loc[monthly.index.month].to_numpy()
by_decade = adjusted.groupby(monthly.index.year // 10 * 10)
result = [
    {
        "decade": f"{decade}s",
        "months": len(values),
        "mean_ppm": round(values.mean(), 1),
        "first": round(values.iloc[0], 1),
        "last": round(values.iloc[-1], 1),
        "rise_per_year": round(np.polyfit(np.arange(len(values)) / 12, values, 1)[0], 2),
    }
    for decade, values in by_decade
]
