"""`streamingtalker bench`: what a frame costs on this machine, by stage, over time and over voices."""
import json

from ..errors import require


def add_arguments(parser):
    parser.add_argument("--model", default=None, metavar="DIR", help="checkpoint folder; the default one when left out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--frames", type=int, default=2000, help="frames of the long stream")
    parser.add_argument("--streams", type=int, default=None, metavar="N", help="most voices to try at once")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args):
    torch = require("torch", "the benchmark")
    torch.set_num_threads(args.threads)
    from ..evaluation import bench
    from ..streaming import Talker
    talker = Talker.load(args.model, args.device)
    talker.warm_up()
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n <= (args.streams or 64)]
    report = {"machine": bench.machine(), "model": talker.name, "device": talker.device, "steps": talker.steps,
              "lookahead_ms": 1e3 * talker.lookahead, "stages_ms": bench.stages(talker),
              "one_voice": bench.one_voice(talker, args.frames), "voices_ms": bench.many_voices(talker, counts)}
    budget = 1e3 / talker.frame_rate
    report["voices_in_real_time"] = max((n for n, t in report["voices_ms"].items() if t["p95"] <= budget), default=0)
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"{report['machine']['cpu']}, {args.threads} thread(s), torch {report['machine']['torch']}, "
          f"{talker.device}; model {talker.name}, {talker.steps} diffusion steps")
    print(f"{'ms per frame':>24} {'p50':>8} {'p95':>8} {'p99':>8}")
    rows = {**report["stages_ms"], "one voice, all of it": report["one_voice"],
            **{f"{n} voices together": t for n, t in report["voices_ms"].items() if n > 1}}
    for name, row in rows.items():
        print(f"{name:>24} {row['p50']:8.2f} {row['p95']:8.2f} {row['p99']:8.2f}")
    one = report["one_voice"]
    print(f"first frame {one['first_frame']:.1f} ms, real-time factor {one['real_time_factor']:.3f}, "
          f"late/early {one['late_over_early']:.3f} over {one['frames']} frames, "
          f"memory {one['memory_mb']:.0f} MB, growth {one['memory_growth_mb']:.1f} MB, "
          f"{report['voices_in_real_time']} voices in real time (a frame is {budget:.0f} ms)")
    return 0
