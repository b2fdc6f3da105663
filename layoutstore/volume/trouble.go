package volume

import "fmt"

// Trouble is why an archive is not whole. The zero value is none.
type Trouble struct {
	Kind   Kind
	Reason string
	// Unread says that the headers could not be followed to the end, so that nobody
	// knows what lies behind.
	Unread bool
}

func incomplete(format string, args ...any) Trouble {
	return Trouble{Incomplete, fmt.Sprintf(format, args...), true}
}

func damaged(format string, args ...any) Trouble {
	return Trouble{Damaged, fmt.Sprintf(format, args...), true}
}
