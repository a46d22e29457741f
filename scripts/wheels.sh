# shellcheck shell=bash
# Wheels for another Python than that of .venv: how pip gets them, and for which the Debian package has them; and what its control file
# is made with. Sourced after step.sh.

# Debian 12, Ubuntu 24.04, Debian 13.
# shellcheck disable=SC2034 # whoever sources this reads it
pythons='3.11 3.12 3.13'

# fetch PYTHON MACHINE FOLDER PIP-ARGUMENT…
fetch() {
  local release=$1 machine=$2 folder=$3
  shift 3
  .venv/bin/python -m pip download -q --disable-pip-version-check --dest "$folder" --only-binary :all: \
    --implementation cp --python-version "$release" --abi "cp${release/./}" --abi abi3 --abi none \
    --platform "manylinux_2_34_$machine" --platform "manylinux_2_28_$machine" --platform "manylinux_2_17_$machine" \
    --platform "manylinux2014_$machine" --platform any "$@"
}

# as_replacement TEXT: what stands for it in sed's s|A|B|, whatever it has.
as_replacement() {
  printf '%s' "$1" | sed 's/[\\&|]/\\&/g'
}
