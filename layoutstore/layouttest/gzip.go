package layouttest

import (
	"encoding/binary"
	"hash/crc32"
)

// storedGzip wraps data as gzip (RFC 1952) in stored blocks (RFC 1951, 3.2.4). It does not use
// compress/gzip, whose output may change with the version of Go. Even without compression,
// compress/gzip may divide the data into other blocks.
func storedGzip(data []byte) []byte {
	const largest = 1<<16 - 1
	sum, size := crc32.ChecksumIEEE(data), uint32(len(data))
	// The header fields are: method deflate, no flags, no time, no level, unknown system.
	out := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}
	for len(data) > largest {
		out = appendStored(out, data[:largest], 0)
		data = data[largest:]
	}
	out = appendStored(out, data, 1)
	out = binary.LittleEndian.AppendUint32(out, sum)
	return binary.LittleEndian.AppendUint32(out, size)
}

// appendStored appends one stored block. final is 1 for the last block and 0 for the others.
func appendStored(out, block []byte, final byte) []byte {
	n := uint16(len(block))
	out = append(out, final)
	out = binary.LittleEndian.AppendUint16(out, n)
	out = binary.LittleEndian.AppendUint16(out, ^n)
	return append(out, block...)
}
