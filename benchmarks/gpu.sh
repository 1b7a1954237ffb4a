#!/usr/bin/env bash
# Measures everything that needs a GPU, in one call of about ten minutes, and writes a table.
#
#     benchmarks/gpu.sh --data DIR [--out results/gpu] [--work DIR] [--minutes 10] [--parts "NAME ..."] [--smoke]
#         [--seconds 6]    (of each row of the table)
#
# What it needs:
#   - an NVIDIA GPU, 8 cores or more, 12 GB of GPU memory, 16 GB of memory, 3 GB of disk in --work;
#   - Python (PYTHON, by default .venv/bin/python or else python3) that can import what this project depends on; the
#     project itself is taken from src/. The parts `parity` and `tests` also want pytest, hypothesis and timm;
#   - --data: a folder that holds cifar10/ and imagenette/, each with train/ and test/ (or val/) inside and in these a
#     folder a class; or the packs cifar10-32/ and imagenette-96/ with unpack.py beside them, which are unpacked into --work.
#     Without one of them, the parts that train on it say so and the others go on. Nothing is downloaded.
#
# What it does, each part with a log and a time limit of its own, so that a failure loses nothing else:
#   table             benchmarks/train_step.py: a step's time and memory, eager and as a graph; alone on the card
#   throughput        `gradsculpt train` on CIFAR-10 with LeNet: decoding, and seconds an epoch; one after the other
#                     (or one of them, such as throughput-l2-cosine-graphs-on)
#   parity            benchmarks/parity.py: every family beside the CPU        } these side by side,
#   tests             pytest -m cuda                                           } for what is left of --minutes
#   paper-lenet       LeNet on CIFAR-10, l2 + cosine beside cross entropy      }
#   paper-imagenette  ResNet-18 on ImageNette, elastic net beside standard     }
# It ends with README.md, JSON and CSV in --out, made by benchmarks/_gpu_report.py from what the parts have left, also
# when it is stopped. --smoke tries all of it on a CPU in less than two minutes, with numbers that mean nothing.
set -u
cd "$(dirname "$0")/.." || exit 2

DATA="" OUT="" WORK="" MINUTES=10 ROW=6 PARTS="table throughput parity tests paper-lenet paper-imagenette" SMOKE=""
while [ $# -gt 0 ]; do
  case "$1" in --data|--out|--work|--minutes|--seconds|--parts)
    [ $# -gt 1 ] || { echo "$1 wants a value after it." >&2; exit 2; } ;;
  esac
  case "$1" in
    --data) DATA=$2; shift 2 ;;
    --out) OUT=$2; shift 2 ;;
    --work) WORK=$2; shift 2 ;;
    --minutes) MINUTES=$2; shift 2 ;;
    --seconds) ROW=$2; shift 2 ;;
    --parts) PARTS=$2; shift 2 ;;
    --smoke) SMOKE=1; shift ;;
    *) echo "unknown argument $1; the beginning of $0 says which there are." >&2; exit 2 ;;
  esac
done
case "$MINUTES" in ''|*[!0-9]*) echo "--minutes $MINUTES is no whole number of minutes." >&2; exit 2 ;; esac
[ -z "$DATA" ] || [ -d "$DATA" ] || { echo "--data $DATA is no folder." >&2; exit 2; }
[ -n "${PYTHON:-}" ] || PYTHON=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
if [ -z "$SMOKE" ] && ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "PyTorch finds no CUDA device here, and nothing was measured; --smoke tries all of it on a CPU." >&2
  exit 2
fi
[ -n "$WORK" ] || WORK=$(mktemp -d)
[ -n "$OUT" ] || OUT=$([ -n "$SMOKE" ] && echo "$WORK/report" || echo results/gpu)
mkdir -p "$WORK/logs" "$WORK/json" "$WORK/running" "$OUT"
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
DEVICE=$([ -n "$SMOKE" ] && echo cpu || echo cuda)
END=$((MINUTES * 60))
: > "$WORK/parts.csv"
rm -f "$WORK/stopped"

report() { "$PYTHON" benchmarks/_gpu_report.py --work "$WORK" --out "$OUT" --device "$DEVICE"; }
stopped() {
  trap - INT TERM
  touch "$WORK/stopped"
  for file in "$WORK"/running/*; do [ -f "$file" ] && kill "$(cat "$file")"; done
  wait
  report
  exit 1
}
trap stopped INT TERM

wanted() { case " $PARTS " in *" $1 "*) true ;; *) false ;; esac; }
left() { local seconds=$((END - SECONDS - $1)); echo $((seconds > 20 ? seconds : 20)); }

# part NAME LIMIT COMMAND ...: runs a command for so many seconds at most, and notes how it ended.
part() {
  local name=$1 limit=$2 started=$SECONDS status=0
  shift 2
  [ -f "$WORK/stopped" ] && return
  echo "$(date +%T) $name: $*"
  timeout --kill-after=15 "$limit" "$@" > "$WORK/logs/$name.log" 2>&1 &
  echo $! > "$WORK/running/$name"
  wait $! || status=$?
  rm -f "$WORK/running/$name"
  echo "$name,$status,$((SECONDS - started)),$limit" >> "$WORK/parts.csv"
  echo "$(date +%T) $name ended with status $status after $((SECONDS - started)) s"
  report > /dev/null  # so that there is one even if all of this is killed
}

# skipped NAME REASON: notes a part that cannot be run here.
skipped() { echo "$1,$2,0,0" >> "$WORK/parts.csv"; echo "$1: $2"; }

# folder NAME PACK: prints where a set of images lies, unpacked if need be; nothing if it is not there.
folder() {
  if [ -d "$DATA/$1/train" ]; then echo "$DATA/$1"
  elif [ -d "$DATA/$2" ] && [ -f "$DATA/unpack.py" ]; then
    [ -d "$WORK/$1/train" ] || "$PYTHON" "$DATA/unpack.py" "$DATA/$2" "$WORK/$1" > "$WORK/logs/unpack-$1.log" 2>&1
    [ -d "$WORK/$1/train" ] && echo "$WORK/$1"
  fi
}

# train NAME LIMIT SET WORDS ...: trains into $WORK/runs/NAME; the sets' decoded images are shared.
train() {
  local name=$1 limit=$2 set=$3
  shift 3
  part "$name" "$limit" "$PYTHON" -m gradsculpt train --data "$set" --cache-dir "$WORK/cache" --device "$DEVICE" \
    --out "$WORK/runs/$name" "$@"
}

# paper NAME SET WORDS ...: trains for as long as there is time, and evaluates what came out.
paper() {
  local name=$1 set=$2 seconds
  shift 2
  seconds=$(left 105)
  train "$name" "$(left 80)" "$set" --max-time "$(printf '%02d:%02d:%02d' $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60)))" "$@"
  part "$name-evaluate" "$(left 10)" "$PYTHON" -m gradsculpt evaluate "$WORK/runs/$name" --data "$set" --device "$DEVICE" \
    --cache-dir "$WORK/cache" "${QUICK[@]}"
}

# Small numbers where it is only tried whether all of it works.
if [ -n "$SMOKE" ]; then
  CIFAR=digits IMAGENETTE=digits
  export OMP_NUM_THREADS=1
  FEW=(--image-size 32 --train-count 64 --epochs 2 --threads 1)
  TABLE=(--batch 2 --seconds 0.1 --case lenet) PARITY=(--family penalties perturbations metrics) QUICK=(--groups accuracy sparsity --limit 16)
  EPOCHS=("${FEW[@]}") LENET=("${FEW[@]}") IMAGES=("${FEW[@]}" --model lenet) TESTS=(tests/test_benchmarks.py)
else
  CIFAR=$(folder cifar10 cifar10-32) && CIFAR=${CIFAR:+folder:$CIFAR}
  IMAGENETTE=$(folder imagenette imagenette-96) && IMAGENETTE=${IMAGENETTE:+folder:$IMAGENETTE}
  TABLE=(--seconds "$ROW") PARITY=() QUICK=(--quick) TESTS=(-k "not a_gpu_computes_what_the_cpu_computes")
  EPOCHS=(--image-size 32 --epochs 4) LENET=(--image-size 32)
  IMAGES=(--image-size 96 --model torchvision:resnet18 --epochs 20 --batch-size 128)
fi

if wanted table; then
  part table 200 "$PYTHON" benchmarks/train_step.py --device "$DEVICE" --json "$WORK/json/steps.json" "${TABLE[@]}"
fi

if wanted throughput || [[ " $PARTS" = *" throughput-"* ]]; then
  if [ -n "$CIFAR" ]; then
    # The first one decodes, and says how many images a second.
    for graphs in off on; do
      [ -n "$SMOKE" ] && [ $graphs = on ] && continue
      for method in standard l2-cosine; do
        wanted throughput || wanted "throughput-$method-graphs-$graphs" || continue
        [ $method = standard ] && words=(--objective CrossEntropy) || words=()
        train "throughput-$method-graphs-$graphs" 75 "$CIFAR" --recipe aga-l2-cos "${words[@]}" "${EPOCHS[@]}" --graphs $graphs
      done
    done
  else
    skipped throughput "there are no images of CIFAR-10 in --data"
  fi
fi

if wanted parity; then
  part parity "$(left 15)" "$PYTHON" benchmarks/parity.py --device "$DEVICE" --json "$WORK/json/parity.json" "${PARITY[@]}" &
fi
if wanted tests; then
  part tests "$(left 15)" "$PYTHON" -m pytest -m cuda -p no:cacheprovider --continue-on-collection-errors -rfE "${TESTS[@]}" &
fi
if wanted paper-lenet; then
  if [ -n "$CIFAR" ]; then
    paper paper-lenet-l2-cosine "$CIFAR" --recipe aga-l2-cos "${LENET[@]}" &
    paper paper-lenet-standard "$CIFAR" --recipe aga-l2-cos --objective CrossEntropy "${LENET[@]}" &
  else
    skipped paper-lenet "there are no images of CIFAR-10 in --data"
  fi
fi
if wanted paper-imagenette; then
  if [ -n "$IMAGENETTE" ]; then
    paper paper-imagenette-elastic-net "$IMAGENETTE" --recipe elastic-net "${IMAGES[@]}" &
    paper paper-imagenette-standard "$IMAGENETTE" --recipe standard "${IMAGES[@]}" &
  else
    skipped paper-imagenette "there are no images of ImageNette in --data"
  fi
fi
wait
report
