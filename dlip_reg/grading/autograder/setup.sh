#!/usr/bin/env bash
# Ubuntu 22.04 has Python 3.10, and the pip of 24.04 installs into virtual environments only.
set -e
apt-get update
apt-get install -y software-properties-common
add-apt-repository -y ppa:deadsnakes/ppa
apt-get install -y python3.12 python3.12-venv
python3.12 -m venv /autograder/venv
/autograder/venv/bin/pip install -r /autograder/source/requirements.txt
