"""A GGUF file with other numbers for the same weights: `python gguf_twin.py FROM TO float32|int8`.

What it is converted from is what our checkpoint was converted from, so that llama.cpp runs the same
weights: as they are, or as its own eight-bit integers.
"""

from __future__ import annotations

import sys

import gguf

KINDS = {
    "float32": gguf.GGMLQuantizationType.F32,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
    "int8": gguf.GGMLQuantizationType.Q8_0,
}
LEFT_OUT = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")


def convert(source: str, target: str, kind: gguf.GGMLQuantizationType) -> None:
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if not name.startswith(LEFT_OUT):
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        of = kind if numbers.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(numbers, of), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    convert(sys.argv[1], sys.argv[2], KINDS[sys.argv[3]])
