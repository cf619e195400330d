"""Replaces tf_cnn_benchmarks.py of tensorflow/benchmarks: takes its flags, prints the GPUs that it received, and computes nothing."""

import argparse
import os
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--local_parameter_device", choices=["cpu", "gpu"], required=True)
parser.add_argument("--batch_size", type=int, required=True)
parser.add_argument("--model", required=True)
flags = parser.parse_args()

gpus = os.environ.get("BITFUSION_GPUS")
if not gpus:
    sys.exit("No GPU: this must run under bitfusion run")
print(f"Model: {flags.model}, batch size {flags.batch_size}")
print(f"GPUs: {gpus}")
print("total images/sec: 0.00 (simulated)")
