package volume

import "fmt"

// Trouble is why an archive is not whole. The zero value is none.
type Trouble struct {
	Kind   Kind
	Reason string
	// Unread says that the headers could not be followed to the end, so that nobody
	// knows what lies behind.
	Unread bool
	// Chunk is the one to copy again, as "chunk 0003", if it is known.
	Chunk string
}

func incomplete(format string, args ...any) Trouble {
	return Trouble{Kind: Incomplete, Reason: fmt.Sprintf(format, args...), Unread: true}
}

func damaged(format string, args ...any) Trouble {
	return Trouble{Kind: Damaged, Reason: fmt.Sprintf(format, args...), Unread: true}
}
