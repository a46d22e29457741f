"""A CUDA program without a toolkit: kernels as PTX, through the driver's library. One JSON object on stdout.

    python3 compute.py add                    1,048,576 additions, and their sum as the GPU has it
    python3 compute.py measure [SECONDS]      how fast it copies and computes, the best of that time
    python3 compute.py hold MIB SECONDS       so much of its memory for so long, filled
    python3 compute.py burn SECONDS           as much work as it can take

With nothing but Python's own library, so that it runs inside any agent. What is called, with which arguments:
https://docs.nvidia.com/cuda/cuda-driver-api/ (names with ``_v2`` are those that cuda.h gives the plain ones).
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from array import array
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

COUNT = 1 << 20
BLOCK = 256
COPIED = 256 << 20  # bytes of one copy
ROUNDS = 4096  # of the computing kernel, of two operations a thread
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…

# PTX of an old target runs on every later GPU; the drivers of CUDA 13 know none before sm_75.
PTX = """
.version 6.3
.target {target}
.address_size 64

.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
{{
    .reg .pred  %p1;
    .reg .f32   %f<4>;
    .reg .b32   %r<6>;
    .reg .b64   %rd<11>;

    ld.param.u64    %rd1, [a];
    ld.param.u64    %rd2, [b];
    ld.param.u64    %rd3, [c];
    ld.param.u32    %r1, [n];
    mov.u32         %r2, %ctaid.x;
    mov.u32         %r3, %ntid.x;
    mov.u32         %r4, %tid.x;
    mad.lo.u32      %r5, %r2, %r3, %r4;
    setp.ge.u32     %p1, %r5, %r1;
    @%p1 bra        DONE;
    cvta.to.global.u64  %rd4, %rd1;
    cvta.to.global.u64  %rd5, %rd2;
    cvta.to.global.u64  %rd6, %rd3;
    mul.wide.u32    %rd7, %r5, 4;
    add.u64         %rd8, %rd4, %rd7;
    add.u64         %rd9, %rd5, %rd7;
    add.u64         %rd10, %rd6, %rd7;
    ld.global.f32   %f1, [%rd8];
    ld.global.f32   %f2, [%rd9];
    add.f32         %f3, %f1, %f2;
    st.global.f32   [%rd10], %f3;
DONE:
    ret;
}}

.visible .entry work(.param .u64 out, .param .u32 rounds)
{{
    .reg .pred  %p1;
    .reg .f32   %f<4>;
    .reg .b32   %r<7>;
    .reg .b64   %rd<5>;

    ld.param.u64    %rd1, [out];
    ld.param.u32    %r1, [rounds];
    mov.u32         %r2, %ctaid.x;
    mov.u32         %r3, %ntid.x;
    mov.u32         %r4, %tid.x;
    mad.lo.u32      %r5, %r2, %r3, %r4;
    cvt.rn.f32.u32  %f1, %r5;
    mov.f32         %f2, 0f3F7FFFFE;
    mov.u32         %r6, 0;
AGAIN:
    fma.rn.f32      %f1, %f1, %f2, %f2;
    add.u32         %r6, %r6, 1;
    setp.lt.u32     %p1, %r6, %r1;
    @%p1 bra        AGAIN;
    cvta.to.global.u64  %rd2, %rd1;
    mul.wide.u32    %rd3, %r5, 4;
    add.u64         %rd4, %rd2, %rd3;
    st.global.f32   [%rd4], %f1;
    ret;
}}
"""

# What is called, and with which types.
CALLS: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (c_void_p,),
    "cuDeviceGet": (c_void_p, c_int),
    "cuDeviceGetCount": (c_void_p,),
    "cuDeviceGetAttribute": (c_void_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuCtxSynchronize": (),
    "cuModuleLoadData": (c_void_p, c_char_p),
    "cuModuleGetFunction": (c_void_p, c_void_p, c_char_p),
    "cuMemGetInfo_v2": (c_void_p, c_void_p),
    "cuMemAlloc_v2": (c_void_p, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemsetD8_v2": (c_uint64, ctypes.c_ubyte, c_size_t),
    "cuMemcpyHtoD_v2": (c_uint64, c_void_p, c_size_t),
    "cuMemcpyDtoH_v2": (c_void_p, c_uint64, c_size_t),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuLaunchKernel": (c_void_p, *(c_uint,) * 7, c_void_p, c_void_p, c_void_p),
    "cuEventCreate": (c_void_p, c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventElapsedTime": (c_void_p, c_void_p, c_void_p),
    "cuGetErrorName": (c_int, c_void_p),
}


class Failed(Exception):
    """CUDA's answer is no success."""


class Gpu:
    """The first GPU that this process sees, with a context on it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        for name, types in CALLS.items():
            call = getattr(self._library, name)
            call.argtypes, call.restype = types, c_int
        self("cuInit", 0)
        self.version, count, self._device = c_int(), c_int(), c_int()
        self("cuDriverGetVersion", byref(self.version))
        self("cuDeviceGetCount", byref(count))
        self.count = count.value
        self("cuDeviceGet", byref(self._device), 0)
        major, minor = c_int(), c_int()
        self("cuDeviceGetAttribute", byref(major), MAJOR, self._device)
        self("cuDeviceGetAttribute", byref(minor), MINOR, self._device)
        self.capability = (major.value, minor.value)
        self._context, self._module = c_void_p(), c_void_p()
        self("cuDevicePrimaryCtxRetain", byref(self._context), self._device)
        self("cuCtxSetCurrent", self._context)
        target = "sm_75" if self.capability >= (7, 5) else "sm_50"
        self("cuModuleLoadData", byref(self._module), PTX.format(target=target).encode())

    def __call__(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            told = c_char_p()
            self._library.cuGetErrorName(code, byref(told))
            raise Failed(f"{name} answers {code} ({(told.value or b'?').decode()})")

    def close(self) -> None:
        """Let go of the GPU."""
        self("cuDevicePrimaryCtxRelease_v2", self._device)

    def memory(self, size: int) -> c_uint64:
        """So many bytes of it."""
        found = c_uint64()
        self("cuMemAlloc_v2", byref(found), size)
        return found

    def free(self) -> tuple[int, int]:
        """Bytes of its memory that nobody has, and all of it."""
        free, total = c_size_t(), c_size_t()
        self("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value, total.value

    def run(self, kernel: bytes, blocks: int, *parameters: Any) -> None:
        """Begin a kernel; ``parameters`` are ctypes' values, in the order of the kernel's."""
        function = c_void_p()
        self("cuModuleGetFunction", byref(function), self._module, kernel)
        places = (c_void_p * len(parameters))(*(ctypes.addressof(one) for one in parameters))
        self("cuLaunchKernel", function, blocks, 1, 1, BLOCK, 1, 1, 0, None, places, None)

    def seconds(self, begin: Any) -> float:
        """What that begins takes, by the GPU's own clock."""
        first, last, found = c_void_p(), c_void_p(), c_float()
        self("cuEventCreate", byref(first), 0)
        self("cuEventCreate", byref(last), 0)
        self("cuEventRecord", first, None)
        begin()
        self("cuEventRecord", last, None)
        self("cuEventSynchronize", last)
        self("cuEventElapsedTime", byref(found), first, last)
        return found.value / 1000.0


def add(gpu: Gpu) -> dict[str, object]:
    """The sum that a million additions come to."""
    size = COUNT * 4
    values = array("f", (index % 1000 for index in range(COUNT)))
    result = array("f", bytes(size))
    a, b, c = gpu.memory(size), gpu.memory(size), gpu.memory(size)
    for place in (a, b):
        gpu("cuMemcpyHtoD_v2", place, values.buffer_info()[0], size)
    gpu.run(b"add", (COUNT + BLOCK - 1) // BLOCK, a, b, c, c_uint(COUNT))
    gpu("cuCtxSynchronize")
    gpu("cuMemcpyDtoH_v2", result.buffer_info()[0], c, size)
    return {"sum": int(sum(result)), "capability": gpu.capability, "cuda": gpu.version.value}


def measure(gpu: Gpu, seconds: float) -> dict[str, object]:
    """The best of many short measurements: bytes a second that are copied, operations a second."""
    a, b = gpu.memory(COPIED), gpu.memory(COPIED)
    blocks = COPIED // 4 // BLOCK

    def copy() -> None:
        for _ in range(8):
            gpu("cuMemcpyDtoDAsync_v2", b, a, COPIED, None)

    def work() -> None:
        gpu.run(b"work", blocks, a, c_uint(ROUNDS))

    copied = computed = 0.0
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end or count < 3:
        copied = max(copied, 8 * COPIED / gpu.seconds(copy))
        computed = max(computed, 2.0 * ROUNDS * blocks * BLOCK / gpu.seconds(work))
        count += 1
    return {"bytes_per_second": copied, "operations_per_second": computed, "count": count}


def hold(gpu: Gpu, mebibytes: int, seconds: float) -> dict[str, object]:
    """Have memory and end without returning it: that is the driver's."""
    before, total = gpu.free()
    size = mebibytes << 20
    gpu("cuMemsetD8_v2", gpu.memory(size), 1, size)
    gpu("cuCtxSynchronize")
    time.sleep(seconds)
    return {"free_before": before, "total": total, "held": size}


def burn(gpu: Gpu, seconds: float) -> dict[str, object]:
    """Work for so long."""
    place, blocks, count = gpu.memory(COPIED), COPIED // 4 // BLOCK, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        gpu.run(b"work", blocks, place, c_uint(ROUNDS))
        gpu("cuCtxSynchronize")
        count += 1
    return {"count": count}


def main(words: list[str]) -> dict[str, object]:
    """Do what the words say."""
    gpu = Gpu()
    match words:
        case ["add"]:
            found = add(gpu)
        case ["measure", *rest]:
            found = measure(gpu, float(rest[0]) if rest else 3.0)
        case ["hold", mebibytes, seconds]:
            return hold(gpu, int(mebibytes), float(seconds))
        case ["burn", seconds]:
            found = burn(gpu, float(seconds))
        case _:
            raise SystemExit(__doc__)
    gpu.close()
    return {**found, "gpus": gpu.count}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
