package containerd

import (
	"errors"
	"fmt"

	"github.com/pelletier/go-toml/v2"
)

// AdviceError is an error together with advice on how to fix it.
type AdviceError struct {
	Err    error
	Advice string
}

func (e *AdviceError) Error() string { return e.Err.Error() }

func (e *AdviceError) Unwrap() error { return e.Err }

func advise(advice, format string, args ...any) error {
	return &AdviceError{fmt.Errorf(format, args...), advice}
}

// parse reads TOML into a map. For a syntax error, it returns an [*AdviceError] that names the
// line and the column.
func parse(text []byte) (map[string]any, error) {
	keys := map[string]any{}
	err := toml.Unmarshal(text, &keys)
	var decode *toml.DecodeError
	switch {
	case errors.As(err, &decode):
		line, column := decode.Position()
		return nil, advise("containerd ignores a file that it cannot parse, and pulls from the registry itself: fix that line, or move the file away, and try again",
			"line %d, column %d: invalid TOML: %w", line, column, err)
	case err != nil:
		return nil, fmt.Errorf("invalid TOML: %w", err)
	}
	return keys, nil
}
