"""One lane, then many: how far the tangent kernel moves from small and from large starts.

Usage: python examples/quickstart.py [SEEDS]
"""

import sys

import jax

jax.config.update("jax_enable_x64", True)

import jaxdyn as jd  # noqa: E402

seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 32

data = jd.data.sinusoid(n=10)
model = jd.models.TwoLayer(width=32, activation="tanh")
flow = jd.flows.GradientFlow(model, jd.losses.square, data)
watch = {"loss": jd.measure.loss, "ntk_change": jd.measure.ntk_change}

sol = jd.solve(flow, flow.init(jax.random.key(0)), t1=50.0, observe=watch)
print(sol)

ds = jd.sweep(flow, seeds, {"model.init_scale": [0.3, 1.0, 3.0]}, t1=50.0, observe=watch, progress=False)
print(f"\noutcomes: {jd.outcome_counts(ds)}")
median = jd.summarise(ds, quantiles=(0.5,)).sel(quantile=0.5)
for scale in ds["init_scale"].values:
    row = median.sel(init_scale=scale)
    print(
        f"init scale {scale:3g}: kernel change {float(row['ntk_change_end']):.3f} +- {float(row['ntk_change_end_stderr']):.3f}, "
        f"loss {float(row['loss_end']):.2e}"
    )
